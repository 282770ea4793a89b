"""The errors that a client raises. None quotes a query, nor any part of a response but its problem document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One invalid field of a request."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457); `errors` has the invalid fields if the status is 422."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class AstecError(Exception):
    """The base class of all errors about a request that failed or could not be sent."""


class ConnectionFailedError(AstecError):
    """No connection could be made, or it broke before the response was complete."""


class TimedOutError(AstecError):
    """The response did not arrive within the client's timeout or deadline."""


class UnexpectedAnswerError(AstecError):
    """A response with status 200 is not a response of this API."""


class StatusError(AstecError):
    """The server responded with an error status.

    Args:
        problem: The problem document of the response.
        retry_after_s: Seconds to wait before the next attempt, by the header `Retry-After`; None without the header.
    """

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        fields = "".join(f" {error.field}: {error.message}." for error in problem.errors)
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}{fields}")
        self.problem = problem
        self.retry_after_s = retry_after_s


class UnauthorizedError(StatusError):
    """401: the server requires an API key, and the request had none or an unknown one."""


class ForbiddenError(StatusError):
    """403: the API key does not allow this operation."""


class InvalidFieldError(StatusError):
    """422: a field is invalid; `problem.errors` lists all invalid fields."""


class TooManyRequestsError(StatusError):
    """429: the queue is full, or the rate limit of the API key is exceeded."""


class UnavailableError(StatusError):
    """503: the model is loading, or the server is shutting down."""


class DeadlinePassedError(StatusError):
    """504: the server's deadline passed before the queries were computed."""


class ShardMissingError(AstecError):
    """Shards did not answer, and the policy is to fail, or none of them answered.

    Args:
        errors: The error of each shard that did not answer, by its address.
        count: The number of shards.
    """

    def __init__(self, errors: Mapping[str, AstecError], count: int) -> None:
        named = "; ".join(f"{address} ({error})" for address, error in errors.items())
        super().__init__(f"{len(errors)} of {count} shards did not answer: {named}")
        self.errors = errors
        self.count = count


class ShardMismatchError(AstecError):
    """The servers at the addresses are not all shards of one model: one is of another, missing, or there twice."""


_BY_STATUS: dict[int, type[StatusError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    422: InvalidFieldError,
    429: TooManyRequestsError,
    503: UnavailableError,
    504: DeadlinePassedError,
}


def to_status_error(response: httpx.Response, epoch_s: Callable[[], float]) -> StatusError:
    """Return the error for a response whose status is not 200.

    Args:
        response: The response, with its body read.
        epoch_s: The clock, in seconds since 1970, with which dates in `Retry-After` are compared.
    """
    retry_after_s = read_retry_after_s(response.headers.get("Retry-After"), epoch_s)
    return _BY_STATUS.get(response.status_code, StatusError)(_read_problem(response), retry_after_s)


def read_retry_after_s(value: str | None, epoch_s: Callable[[], float]) -> float | None:
    """Return the seconds in a `Retry-After` header (RFC 9110, 10.2.3); None if it is missing or malformed."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date without a zone is in UTC, as all dates in HTTP are.
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - epoch_s())


def _read_problem(response: httpx.Response) -> Problem:
    """Return the problem document; a proxy between client and server may respond without one."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, Mapping):
        document = {}
    errors = document.get("errors")
    return Problem(
        type=str(document.get("type", "about:blank")),
        title=str(document.get("title", response.reason_phrase or "Error")),
        status=response.status_code,
        detail=str(document.get("detail", "The answer has no problem document; a proxy may have given it.")),
        errors=tuple(map(_read_field, errors)) if isinstance(errors, list) else (),
    )


def _read_field(error: object) -> FieldProblem:
    entry = error if isinstance(error, Mapping) else {}
    return FieldProblem(str(entry.get("field", "")), str(entry.get("message", "")))
