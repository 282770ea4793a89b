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
        scope: An ASGI scope with the id of the call, if it has one.
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
        self.scope: dict[str, bytes] = {SCOPE_KEY: request_id} if request_id else {}
        self.trailing: list[tuple[str, str]] = [(_ID_KEY, request_id.decode())] if request_id else []
        self.cut_off = False
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        left_s = context.time_remaining()
        self._deadline_s = math.inf if left_s is None else perf_counter() + left_s

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

    Attributes:
        closing: Set when streams should end, because the server stops.
    """

    def __init__(self, metrics: Metrics, makes_ids: bool) -> None:
        self.closing = asyncio.Event()
        self._metrics = metrics
        self._makes_ids = makes_ids
        self._calls: set[Call] = set()

    def answering(self, method: RpcMethod, answer: Answer) -> Callable[..., Awaitable[Any]]:
        """Return the function that answers a method's calls for gRPC, with the right status where `answer` raises."""

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:  # noqa: ANN401  (as the method has)
            started_s = perf_counter()
            call = Call(context, self._makes_ids)
            self._calls.add(call)
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
                self._metrics.call_answered(method, status.code.name, perf_counter() - started_s)
            return await context.abort(status.code, status.message, (*call.trailing, *status.metadata))

        return handle

    def cut_off(self) -> None:
        """End all calls that have no answer yet with an error."""
        for call in self._calls:
            call.cut_it_off()
