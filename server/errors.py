"""The errors of the server and their mapping to responses: problem documents of RFC 9457 or, for the Open Inference
Protocol, its own error objects.

No error quotes a query.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException

from astec.server.engine.batching.batcher import CallerLeftError, ClosedError, DeadlineError, QueueFullError
from astec.server.engine.upstream.errors import UpstreamError, UpstreamRefusedError

MEDIA_TYPE = "application/problem+json"
OPEN_INFERENCE_PATH = "/v2"
MAX_FIELD_ERRORS = 20
MAX_FIELD_CHARS = 100
ERROR_KEY = "astec.error"
"""The key of the name of a request's error in the ASGI scope of a request that failed with one."""
# pydantic describes either all errors or none, at 10 us each.
MAX_COUNTED_ERRORS = 1000


class FieldError(BaseModel):
    """One invalid field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error as a problem document (RFC 9457); only 422 has `errors`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:astec:problem:invalid-field",
                "title": "Invalid field",
                "status": 422,
                "detail": "The request has 1 invalid field.",
                "errors": [{"field": "top_k", "message": "Input should be less than or equal to 100"}],
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | SkipJsonSchema[None] = None


class ProtocolError(BaseModel):
    """An error in the form of the Open Inference Protocol."""

    error: str


class ServerError(Exception):
    """The base of all errors that a client sees; `str()` is the detail."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None

    def problem(self) -> Problem:
        """Return the document that describes this error to the client."""
        return Problem(type=f"urn:astec:problem:{self.slug}", title=self.title, status=self.status, detail=str(self))

    def headers(self) -> dict[str, str]:
        """Return the response headers that belong to this error."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class MalformedJsonError(ServerError):
    """The body is not JSON, or not UTF-8."""

    status, slug, title = 400, "malformed-json", "Malformed JSON"


class MalformedHttpError(ServerError):
    """The request is not HTTP."""

    status, slug, title = 400, "malformed-http", "Malformed HTTP"


class DamagedContentError(ServerError):
    """The body is compressed, but its data are damaged or cut off, or are not of the coding in its header."""

    status, slug, title = 400, "damaged-content", "Damaged content"


class UnauthorizedError(ServerError):
    """The request has no key that the server knows."""

    status, slug, title = 401, "unauthorized", "Unauthorized"

    def headers(self) -> dict[str, str]:
        """Return the header that names the authentication scheme (RFC 6750)."""
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(ServerError):
    """The key of the request does not permit the operation."""

    status, slug, title = 403, "forbidden", "Forbidden"


class UnknownModelError(ServerError):
    """The request names a model, or a version of it, that is not served."""

    status, slug, title = 404, "unknown-model", "Unknown model"


class RequestTimeoutError(ServerError):
    """The client did not send the whole request in time."""

    status, slug, title = 408, "request-timeout", "Request timeout"


class BodyTooLargeError(ServerError):
    """The body is larger than the limit."""

    status, slug, title = 413, "body-too-large", "Body too large"


class UnsupportedCodingError(ServerError):
    """The body has a content coding that this server does not decode.

    Args:
        problem: What is wrong with the coding.
        supported: The codings that the client may use.
    """

    status, slug, title = 415, "unsupported-coding", "Unsupported content coding"

    def __init__(self, problem: str, supported: Sequence[str]) -> None:
        super().__init__(f"{problem} Send the body without Content-Encoding, or as {' or '.join(supported)}.")
        self._supported = supported

    def headers(self) -> dict[str, str]:
        """Return the header that names the codings (RFC 9110, section 12.5.3)."""
        return {"Accept-Encoding": ", ".join(self._supported)}


class ExpectationFailedError(ServerError):
    """The request expects something else than to be asked for its body."""

    status, slug, title = 417, "expectation-failed", "Expectation failed"


class InvalidFieldError(ServerError):
    """The JSON is well-formed, but a field is not valid."""

    status, slug, title = 422, "invalid-field", "Invalid field"

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = list(errors)
        count = len(self.errors)
        super().__init__(f"The request has {count} invalid field{'s' if count > 1 else ''}.")

    def problem(self) -> Problem:
        """Return the document with the first few invalid fields."""
        return super().problem().model_copy(update={"errors": self.errors[:MAX_FIELD_ERRORS]})


class OverloadedError(ServerError):
    """The queue is full."""

    status, slug, title, retry_after_s = 429, "queue-full", "Queue full", 1


class RateLimitedError(ServerError):
    """The client has reached the rate limit of its key.

    Args:
        detail: The detail that the client sees.
        wait_s: Seconds after which it may ask again.
    """

    status, slug, title = 429, "rate-limited", "Rate limited"

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail)
        self._wait_s = wait_s

    def headers(self) -> dict[str, str]:
        """Return the header that tells when to try again, in whole seconds."""
        return {"Retry-After": str(math.ceil(self._wait_s))}


class HeadTooLargeError(ServerError):
    """The request line and the headers are larger than the limit."""

    status, slug, title = 431, "head-too-large", "Head too large"


class ClientLeftError(ServerError):
    """The client disconnected. Nobody reads this response, but metrics count it (nginx has the same status)."""

    status, slug, title = 499, "client-left", "Client left"


class UnavailableError(ServerError):
    """The model is loading, or the server is shutting down."""

    status, slug, title, retry_after_s = 503, "unavailable", "Unavailable", 1


class UpstreamFailedError(ServerError):
    """A shard does not answer, or the servers at the addresses are not those of all shards of one model."""

    status, slug, title, retry_after_s = 503, "upstream-failed", "Upstream failed", 1


class TimedOutError(ServerError):
    """The deadline passed."""

    status, slug, title = 504, "deadline-passed", "Deadline passed"


class InternalError(ServerError):
    """A fault of the server; the details are in its log only."""


def to_server_error(error: BaseException) -> ServerError:
    """Return the server error for any exception."""
    match error:
        case ServerError():
            return error
        case ValidationError():
            return _from_validation(error)
        case QueueFullError():
            return OverloadedError(f"{error} Try again later, or add workers.")
        case DeadlineError():
            return TimedOutError(str(error))
        case ClosedError():
            return UnavailableError(str(error))
        case CallerLeftError():
            return ClientLeftError(str(error))
        case UpstreamError():
            return UpstreamFailedError(str(error))
        case UpstreamRefusedError():
            return InvalidFieldError(FieldError(field=name, message=message) for name, message in error.fields)
        case _:
            return InternalError("The server failed to answer; its log has the details.")


def to_response(error: BaseException) -> Response:
    """Return the response with the problem document for any exception."""
    server_error = to_server_error(error)
    return _respond(server_error.problem(), server_error.headers())


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    kinds = (ServerError, ValidationError, QueueFullError, DeadlineError, ClosedError, CallerLeftError)
    for kind in (*kinds, UpstreamError, UpstreamRefusedError, Exception):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def _from_validation(error: ValidationError) -> ServerError:
    if error.error_count() > MAX_COUNTED_ERRORS:
        message = f"There are {error.error_count()} invalid fields, too many to tell"
        return InvalidFieldError([FieldError(field="body", message=message)])
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return MalformedJsonError(f"The body is not JSON in UTF-8: {found[0]['msg'].removeprefix('Invalid JSON: ')}.")
    return InvalidFieldError(
        FieldError(field=field_path(item["loc"]), message=item["msg"].removeprefix("Value error, ")) for item in found
    )


def field_path(location: Iterable[str | int]) -> str:
    """Return the dotted path of a field, such as `queries.3.ids`; union tags, which start with ":", are left out."""
    return ".".join(str(part) for part in location if not str(part).startswith(":"))[:MAX_FIELD_CHARS] or "body"


async def _on_error(request: Request, error: Exception) -> Response:
    server_error = to_server_error(error)
    request.scope[ERROR_KEY] = server_error.slug
    return _respond_to(request, server_error.problem(), server_error.headers())


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (the handler is registered for nothing else)
    problem = Problem(type="about:blank", title=error.detail, status=error.status_code, detail=error.detail)
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # The application answers HEAD as GET, before a route sees the method.
    return _respond_to(request, problem, headers)


def _respond_to(request: Request, problem: Problem, headers: dict[str, Any]) -> Response:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if path == OPEN_INFERENCE_PATH or path.startswith(f"{OPEN_INFERENCE_PATH}/"):
        return _respond_by_protocol(problem, headers)
    return _respond(problem, headers)


def _respond(problem: Problem, headers: dict[str, Any]) -> Response:
    return Response(
        orjson.dumps(problem.model_dump(exclude_none=True)), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def protocol_message(problem: Problem) -> str:
    """Return the message of an error of the Open Inference Protocol: the detail, or the fields that are invalid."""
    return "; ".join(f"{error.field}: {error.message}" for error in problem.errors or ()) or problem.detail


def _respond_by_protocol(problem: Problem, headers: dict[str, Any]) -> Response:
    """Return an error of the protocol, where 400 takes the place of 422."""
    status = MalformedJsonError.status if problem.status == InvalidFieldError.status else problem.status
    content = orjson.dumps(ProtocolError(error=protocol_message(problem)).model_dump())
    return Response(content, status, headers=headers, media_type="application/json")
