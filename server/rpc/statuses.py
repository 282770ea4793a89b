"""The errors of the server as statuses of gRPC calls."""

from __future__ import annotations

import logging
from typing import NamedTuple

from grpc import StatusCode

from astec.server.errors import InternalError, protocol_message, to_server_error

logger = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str], ...]

_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    404: StatusCode.NOT_FOUND,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


class CallError(Exception):
    """An error that only a gRPC call can have.

    Args:
        code: Its status code.
        message: What the client sees.
    """

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class CallStatus(NamedTuple):
    """The status of a call that failed, and the metadata that the client gets with it."""

    code: StatusCode
    message: str
    metadata: Metadata


def to_status(error: Exception) -> CallStatus:
    """Return the status for any exception; a fault of the server is logged.

    The code follows from the status that the same error has over HTTP. A client that should wait before it asks again
    is told how long by `retry-after` in the trailing metadata.
    """
    if isinstance(error, CallError):
        return CallStatus(error.code, str(error), ())
    server_error = to_server_error(error)
    if server_error.status == InternalError.status:
        logger.error("a call failed", exc_info=error)
    problem, retry_after = server_error.problem(), server_error.headers().get("Retry-After")
    metadata: Metadata = () if retry_after is None else (("retry-after", retry_after),)
    return CallStatus(_CODES.get(problem.status, StatusCode.INTERNAL), protocol_message(problem), metadata)
