"""What a client raises. No error quotes a query, nor what the server answered beyond its problem document."""

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
    """An error as RFC 9457 describes it; `errors` are the invalid fields of a 422."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class AstecError(Exception):
    """Every error that the client raises about a request that was sent, or could not be."""


class ConnectionFailedError(AstecError):
    """No connection could be made, or it broke before the answer was complete."""


class TimedOutError(AstecError):
    """The answer did not come within the client's timeout or deadline."""


class UnexpectedAnswerError(AstecError):
    """What came with status 200 is not an answer of this API."""


class StatusError(AstecError):
    """The server answered with an error.

    Args:
        problem: What it said.
        retry_after_s: Seconds after which it wants to be asked again; None: it did not say.
    """

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        fields = "".join(f" {error.field}: {error.message}." for error in problem.errors)
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}{fields}")
        self.problem = problem
        self.retry_after_s = retry_after_s


class UnauthorizedError(StatusError):
    """401: the server asks for a key, and got none that it knows."""


class ForbiddenError(StatusError):
    """403: the key is not for this."""


class InvalidFieldError(StatusError):
    """422: a field is not what the API takes; `problem.errors` names each."""


class TooManyRequestsError(StatusError):
    """429: the queue is full, or the key has asked for as much as it may."""


class UnavailableError(StatusError):
    """503: the model is loading, or the server is shutting down."""


class DeadlinePassedError(StatusError):
    """504: the server's deadline passed before the queries were computed."""


_BY_STATUS: dict[int, type[StatusError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    422: InvalidFieldError,
    429: TooManyRequestsError,
    503: UnavailableError,
    504: DeadlinePassedError,
}


def to_status_error(response: httpx.Response, epoch_s: Callable[[], float]) -> StatusError:
    """Return the error that a response with another status than 200 stands for.

    Args:
        response: The response, read.
        epoch_s: The time of the day in seconds, which dates of `Retry-After` are compared with.
    """
    retry_after_s = read_retry_after_s(response.headers.get("Retry-After"), epoch_s)
    return _BY_STATUS.get(response.status_code, StatusError)(_read_problem(response), retry_after_s)


def read_retry_after_s(value: str | None, epoch_s: Callable[[], float]) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3); None where it is missing or malformed."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date without a zone is in UTC, as all of HTTP's are.
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - epoch_s())


def _read_problem(response: httpx.Response) -> Problem:
    """Return the problem document; what stands between client and server may answer without one."""
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
