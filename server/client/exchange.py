"""The attempts and waits of one request, without any network access; both clients use it."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from astec.server.client.errors import (
    AstecError,
    ConnectionFailedError,
    StatusError,
    TimedOutError,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedAnswerError,
    to_status_error,
)

API_KEY_VARIABLE = "ASTEC_API_KEY"
# Less than the 60 s after which common load balancers, and the 75 s after which the server close an idle connection: so
# none is closed while a request is sent.
KEEP_ALIVE_S = 30.0
# Errors after which a request is sent again, which does no harm. A timeout while reading is not among them: the server
# probably has too much load already, and another attempt would add to it.
_CONNECTION_ERRORS = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ProxyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The policy by which a request is sent again after status 429 or 503, or after the connection failed.

    The wait before attempt n + 1 is drawn at random between 0 and min(`max_backoff_s`, `backoff_s` * 2**(n - 1)), so
    that clients that failed at the same time do not retry at the same time. It is added to the server's `Retry-After`.

    Args:
        max_attempts: The most attempts of a request, including the first; 1 means no retry.
        backoff_s: The longest wait before the second attempt, in seconds.
        max_backoff_s: The longest wait before any attempt, in seconds.
        jitter: Function that draws a random number between 0 and 1.
        monotonic_s: The clock with which deadlines are measured, in seconds.
        epoch_s: The clock with which dates in `Retry-After` are compared, in seconds since 1970.
    """

    max_attempts: int = 4
    backoff_s: float = 0.2
    max_backoff_s: float = 5.0
    jitter: Callable[[], float] = field(default=random.random, repr=False)
    monotonic_s: Callable[[], float] = field(default=time.monotonic, repr=False)
    epoch_s: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}; give at least 1, the first attempt")
        if self.backoff_s < 0 or self.max_backoff_s < 0:
            raise ValueError(f"backoffs of {self.backoff_s} s and {self.max_backoff_s} s: give at least 0")

    def backoff(self, attempts: int) -> float:
        """Return the seconds to wait after a number of attempts, without the server's `Retry-After`."""
        return self.jitter() * min(self.max_backoff_s, self.backoff_s * 2.0 ** (attempts - 1))


DEFAULT_RETRY = RetryPolicy()


class Exchange:
    """One request, with all its attempts.

    Args:
        policy: The policy for further attempts.
        timeout_s: Longest wait for the network, in seconds: to connect, to send, or to receive the next bytes.
        deadline_s: Longest time for all attempts and the waits between them, in seconds.
    """

    def __init__(self, policy: RetryPolicy, timeout_s: float, deadline_s: float) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._end_s = policy.monotonic_s() + deadline_s
        self._is_cut_short = False
        self._attempts = 0

    def start_attempt(self) -> httpx.Timeout:
        """Count another attempt and return its timeout.

        Raises:
            TimedOutError: The deadline has passed.
        """
        left_s = self.left_s()
        if left_s <= 0:
            raise self.deadline_error()
        self._attempts += 1
        self._is_cut_short = left_s < self._timeout_s
        return httpx.Timeout(min(self._timeout_s, left_s))

    def left_s(self) -> float:
        """Return the seconds until the deadline."""
        return self._end_s - self._policy.monotonic_s()

    def deadline_error(self) -> TimedOutError:
        """Return the error for a deadline that has passed."""
        return TimedOutError(
            f"No answer within the deadline of {self._deadline_s:g} s, after {self._attempts} attempts. "
            "Raise deadline_s, or give the server more workers."
        )

    def read(self, response: httpx.Response) -> dict[str, Any]:
        """Return the JSON object in a response.

        Raises:
            StatusError: The status is not 200.
            UnexpectedAnswerError: The body is not a JSON object.
        """
        if response.status_code != httpx.codes.OK:
            raise to_status_error(response, self._policy.epoch_s)
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None  # The error of the json module would quote the whole response.
        if not isinstance(answer, dict):
            raise UnexpectedAnswerError("The answer is not a JSON object. Is the address that of the server?")
        return answer

    def wait_s(self, error: httpx.RequestError | StatusError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            AstecError: There is no next attempt: it would fail too, or no attempts or no time are left.
        """
        final_error = self._to_astec_error(error)
        is_transient = isinstance(error, (TooManyRequestsError, UnavailableError, *_CONNECTION_ERRORS))
        if not is_transient or self._attempts >= self._policy.max_attempts:
            raise final_error
        retry_after_s = final_error.retry_after_s if isinstance(final_error, StatusError) else None
        wait_s = (retry_after_s or 0.0) + self._policy.backoff(self._attempts)
        if wait_s >= self.left_s():
            raise final_error
        return wait_s

    def _to_astec_error(self, error: httpx.RequestError | StatusError) -> AstecError:
        if isinstance(error, StatusError):
            return error
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            if self._is_cut_short:
                return self.deadline_error()
            return TimedOutError(f"No answer within {self._timeout_s:g} s ({reason}). Raise timeout_s.")
        message = f"The connection failed after {self._attempts} attempts: {reason}. Is the server up at this address?"
        return ConnectionFailedError(message)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The settings of a client, which are checked when it is made.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path in it is a prefix of the paths of the API.
        api_key: API key, sent with every request; None: the value of the environment variable ASTEC_API_KEY, if set.
        timeout_s: Longest wait for the network, in seconds.
        deadline_s: Longest time for a request with all its attempts, in seconds.
        retry: The policy by which failed requests are sent again.
        max_queries_per_request: The most queries in one request.
        compress_over_bytes: Bodies with more bytes are compressed; None: none is.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    deadline_s: float
    retry: RetryPolicy
    max_queries_per_request: int
    compress_over_bytes: int | None

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"The address {self.base_url!r} does not begin with http:// or https://; give both")
        if self.timeout_s <= 0 or self.deadline_s <= 0:
            raise ValueError(f"timeout_s is {self.timeout_s} and deadline_s {self.deadline_s}; give more than 0")
        if self.max_queries_per_request < 1:
            raise ValueError(f"max_queries_per_request is {self.max_queries_per_request}; give at least 1")
        if self.compress_over_bytes is not None and self.compress_over_bytes < 0:
            raise ValueError(f"compress_over_bytes is {self.compress_over_bytes}; give at least 0, or None for never")

    def headers(self) -> dict[str, str]:
        """Return the headers of every request.

        Raises:
            ValueError: The key has characters that a header cannot contain.
        """
        headers = {"Accept": "application/json"}
        key = os.environ.get(API_KEY_VARIABLE) if self.api_key is None else self.api_key
        if not key:
            return headers
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("The API key has white space or characters beyond ASCII; strip the end of its line")
        return headers | {"Authorization": f"Bearer {key}"}

    def exchange(self) -> Exchange:
        """Begin a request, whose deadline counts from now."""
        return Exchange(self.retry, self.timeout_s, self.deadline_s)
