"""Errors as statuses of gRPC: each has the code that follows from its status over HTTP."""

import logging
from collections.abc import Iterator

import pytest
from grpc import StatusCode

from astec.server.engine.batching.batcher import CallerLeftError, ClosedError, DeadlineError, QueueFullError
from astec.server.errors import (
    FieldError,
    InvalidFieldError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
)
from astec.server.metrics.board import RPC_CODES
from astec.server.rpc.statuses import CallError, to_status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidFieldError([FieldError(field="top_k", message="Too large")]), StatusCode.INVALID_ARGUMENT),
        (UnauthorizedError("No key."), StatusCode.UNAUTHENTICATED),
        (UnknownModelError("None."), StatusCode.NOT_FOUND),
        (UnavailableError("Loading."), StatusCode.UNAVAILABLE),
        (ClosedError("Stopping."), StatusCode.UNAVAILABLE),
        (DeadlineError("Late."), StatusCode.DEADLINE_EXCEEDED),
        (QueueFullError("Full."), StatusCode.RESOURCE_EXHAUSTED),
        (RateLimitedError("Slow down.", 2.2), StatusCode.RESOURCE_EXHAUSTED),
        (CallerLeftError("Left."), StatusCode.CANCELLED),
        (CallError(StatusCode.NOT_FOUND, "None."), StatusCode.NOT_FOUND),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_its_code(error: Exception, code: StatusCode) -> None:
    assert to_status(error).code is code


def test_a_client_is_told_how_long_to_wait() -> None:
    assert to_status(RateLimitedError("Slow down.", 2.2)).metadata == (("retry-after", "3"),)
    assert to_status(UnknownModelError("None.")).metadata == ()


def test_the_message_names_the_invalid_fields() -> None:
    errors = [FieldError(field="top_k", message="Too large"), FieldError(field="inputs", message="None")]
    assert to_status(InvalidFieldError(errors)).message == "top_k: Too large; inputs: None"


def test_a_fault_of_the_server_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("secret")
    with caplog.at_level(logging.ERROR):
        status = to_status(error)
    assert status.code is StatusCode.INTERNAL
    assert "secret" not in status.message
    assert error in (caplog.records[0].exc_info or ())


def statuses_below(kind: type[ServerError]) -> Iterator[int]:
    yield kind.status
    for below in kind.__subclasses__():
        yield from statuses_below(below)


def test_every_code_of_an_error_is_counted() -> None:
    for number in statuses_below(ServerError):
        error = type("Error", (ServerError,), {"status": number})("x")
        assert to_status(error).code.name in RPC_CODES
