"""One request and its attempts, without any input or output: what the sync and the async client share."""

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
# Less than the 5 s after which the server closes an idle connection: none is closed while a request is on its way.
KEEP_ALIVE_S = 4.0
# To ask twice does no harm. A read that times out is not among these: it would come back as more load on a server that
# has too much already.
_CONNECTION_ERRORS = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ProxyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a request that got 429, 503 or no connection is sent again.

    The wait before attempt n + 1 is drawn between 0 and min(`max_backoff_s`, `backoff_s` * 2**(n - 1)), so that clients
    that failed together do not come back together, and is added to what the server's `Retry-After` asks for.

    Args:
        max_attempts: Most attempts of a request, the first included; 1: never again.
        backoff_s: Longest wait before the second attempt, in seconds.
        max_backoff_s: Longest wait before any attempt, in seconds.
        jitter: Draws a number between 0 and 1.
        monotonic_s: The clock that deadlines are measured with, in seconds.
        epoch_s: The clock that dates of `Retry-After` are compared with, in seconds since 1970.
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
        """Return the seconds to wait after so many attempts, without what the server asks for."""
        return self.jitter() * min(self.max_backoff_s, self.backoff_s * 2.0 ** (attempts - 1))


DEFAULT_RETRY = RetryPolicy()


class Exchange:
    """The attempts to get one request answered.

    Args:
        policy: When to try again.
        timeout_s: Seconds that each wait for the network may take: to connect, to send, to get the next bytes.
        deadline_s: Seconds that all attempts and the waits between them may take together.
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
        """Return the error of a deadline that has passed."""
        return TimedOutError(
            f"No answer within the deadline of {self._deadline_s:g} s, after {self._attempts} attempts. "
            "Raise deadline_s, or give the server more workers."
        )

    def read(self, response: httpx.Response) -> dict[str, Any]:
        """Return the JSON object of an answer.

        Raises:
            StatusError: It is not 200.
            UnexpectedAnswerError: It is not a JSON object.
        """
        if response.status_code != httpx.codes.OK:
            raise to_status_error(response, self._policy.epoch_s)
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None  # What json raises has the whole answer in it.
        if not isinstance(answer, dict):
            raise UnexpectedAnswerError("The answer is not a JSON object. Is the address that of the server?")
        return answer

    def wait_s(self, error: httpx.RequestError | StatusError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            AstecError: There is to be none: what failed would fail again, or attempts or time are used up.
        """
        known = self._to_known(error)
        is_transient = isinstance(error, (TooManyRequestsError, UnavailableError, *_CONNECTION_ERRORS))
        if not is_transient or self._attempts >= self._policy.max_attempts:
            raise known
        asked_s = known.retry_after_s if isinstance(known, StatusError) else None
        wait_s = (asked_s or 0.0) + self._policy.backoff(self._attempts)
        if wait_s >= self.left_s():
            raise known
        return wait_s

    def _to_known(self, error: httpx.RequestError | StatusError) -> AstecError:
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
class Connector:
    """What a client was told about its server, checked.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path is put before those of the API.
        api_key: Key that is shown with every request; None: that of the environment variable ASTEC_API_KEY, if any.
        timeout_s: Seconds that each wait for the network may take.
        deadline_s: Seconds that a request with all its attempts may take.
        retry: When a request is sent again.
        max_queries_per_request: Most queries in a request.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    deadline_s: float
    retry: RetryPolicy
    max_queries_per_request: int

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"The address {self.base_url!r} does not begin with http:// or https://; give both")
        if self.timeout_s <= 0 or self.deadline_s <= 0:
            raise ValueError(f"timeout_s is {self.timeout_s} and deadline_s {self.deadline_s}; give more than 0")
        if self.max_queries_per_request < 1:
            raise ValueError(f"max_queries_per_request is {self.max_queries_per_request}; give at least 1")

    def headers(self) -> dict[str, str]:
        """Return the headers of every request.

        Raises:
            ValueError: No header can carry the key.
        """
        headers = {"Accept": "application/json"}
        key = os.environ.get(API_KEY_VARIABLE) if self.api_key is None else self.api_key
        if not key:
            return headers
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("The API key has white space or characters beyond ASCII; strip the end of its line")
        return headers | {"Authorization": f"Bearer {key}"}

    def exchange(self) -> Exchange:
        """Begin a request."""
        return Exchange(self.retry, self.timeout_s, self.deadline_s)
