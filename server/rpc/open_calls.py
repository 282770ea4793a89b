"""The calls that a worker is answering: whom they are for, how they end, and what they count."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, cast

from grpc import StatusCode
from grpc.aio import BaseError, ServicerContext

from astec.server.engine.batching.batcher import CallerLeftError
from astec.server.http.request_ids import HEADER, SCOPE_KEY, make_id, sent_id
from astec.server.metrics.board import Metrics, RpcMethod
from astec.server.rpc.statuses import CallStatus, to_status
from astec.server.tracing.request_span import SPAN_KEY, RequestSpan
from astec.server.tracing.tracer import Tracer

Answer = Callable[[Any, "Call"], Awaitable[Any]]

_ID_KEY = HEADER.decode()
_OK = CallStatus(StatusCode.OK, "", ())
# A client that left, or whose deadline has passed, usually sees what its own library says before.
_LEFT = CallStatus(StatusCode.CANCELLED, "The client has cancelled the call.", ())
_LATE = CallStatus(StatusCode.DEADLINE_EXCEEDED, "The deadline of the client has passed.", ())
_SHUTTING_DOWN = CallStatus(StatusCode.UNAVAILABLE, "The server is shutting down.", ())


class Call:
    """A call that is being answered, and the client that waits for it.

    Args:
        context: gRPC's own object of the call.
        makes_ids: Whether a call whose client sent no id gets one.

    Attributes:
        context: gRPC's own object.
        headers: The metadata that the client sent, as headers of HTTP.
        scope: An ASGI scope with the id and the span of the call, if it has them.
        trailing: The metadata that the client gets with the end of the call.
        cut_off: Whether the call is cancelled because the server stops.
    """

    def __init__(self, context: ServicerContext[Any, Any], makes_ids: bool) -> None:
        self.context = context
        self.headers = [
            (key.encode(), value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
            for key, value in context.invocation_metadata() or ()
        ]
        request_id = sent_id(self.headers) or (make_id() if makes_ids else b"")
        self.scope: dict[str, Any] = {SCOPE_KEY: request_id} if request_id else {}
        self.trailing: list[tuple[str, str]] = [(_ID_KEY, request_id.decode())] if request_id else []
        self.cut_off = False
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        left_s = context.time_remaining()
        self._deadline_s = math.inf if left_s is None else perf_counter() + left_s

    @property
    def span(self) -> RequestSpan | None:
        """The span of the call; None if it belongs to no trace."""
        return self.scope.get(SPAN_KEY)

    @property
    def is_late(self) -> bool:
        """Whether the deadline of the client has passed."""
        return perf_counter() >= self._deadline_s

    @property
    def disconnected(self) -> bool:
        """Whether the client no longer waits: its deadline has passed, or it has cancelled the call."""
        return self.is_late or (self._task.cancelling() > 0 and not self.cut_off)

    def status_of(self, error: Exception) -> CallStatus:
        """Return the status for an error of a request that came with this call."""
        if isinstance(error, CallerLeftError):
            return _LATE if self.is_late else _LEFT
        return to_status(error)

    def cut_it_off(self) -> None:
        """End the call, because the server stops."""
        self.cut_off = True
        self._task.cancel()


class OpenCalls:
    """The calls of a worker that have no answer yet.

    Args:
        metrics: Where calls are counted.
        makes_ids: Whether a call whose client sent no id gets one.
        tracer: Begins the spans of calls; None: there are no traces.

    Attributes:
        closing: Set when streams should end, because the server stops.
    """

    def __init__(self, metrics: Metrics, makes_ids: bool, tracer: Tracer | None) -> None:
        self.closing = asyncio.Event()
        self._tracer = tracer
        self._metrics = metrics
        self._makes_ids = makes_ids
        self._calls: set[Call] = set()

    def answering(self, service: str, method: RpcMethod, answer: Answer) -> Callable[..., Awaitable[Any]]:
        """Return the function that answers the calls of a service's method for gRPC.

        Where `answer` raises, the call gets the status for the error.
        """
        full_name = f"{service}/{method}"

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:  # noqa: ANN401  (as the method has)
            started_s = perf_counter()
            call = Call(context, self._makes_ids)
            self._calls.add(call)
            if self._tracer is not None:
                self._tracer.begin_call(full_name, call.headers, call.scope)
            status = _OK
            try:
                response = await answer(request, call)
                if call.trailing:
                    context.set_trailing_metadata(tuple(call.trailing))
                return response
            except asyncio.CancelledError:
                status = _SHUTTING_DOWN if call.cut_off else _LATE if call.is_late else _LEFT
                if not call.cut_off:
                    raise
            except BaseError:  # gRPC could not read or write: the client has left.
                status = _LEFT
                raise
            except Exception as error:
                status = call.status_of(error)
            finally:
                self._calls.discard(call)
                seconds = perf_counter() - started_s
                self._metrics.call_answered(method, status.code.name, seconds)
                if (span := call.span) is not None:
                    span.end_call(full_name, status.code.name, seconds, call.scope.get(SCOPE_KEY, b""))
            return await context.abort(status.code, status.message, (*call.trailing, *status.metadata))

        return handle

    def cut_off(self) -> None:
        """End all calls that have no answer yet with an error."""
        for call in self._calls:
            call.cut_it_off()
