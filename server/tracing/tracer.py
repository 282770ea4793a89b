"""The tracer of a worker: decides which requests have a span, begins the spans, and hands them to the exporter."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from random import getrandbits
from typing import TYPE_CHECKING, Any

from astec.server.tracing.log_filter import current_trace_id
from astec.server.tracing.request_span import SPAN_KEY, Head, RequestSpan
from astec.server.tracing.trace_config import TraceConfig
from astec.server.tracing.trace_context import parse_traceparent

# The module behind it loads OpenTelemetry.
if TYPE_CHECKING:
    from astec.server.tracing.span_export import SpanExport

Headers = Iterable[tuple[bytes, bytes]]

# By the low bits of the trace id, as OpenTelemetry's own sampler does: others that begin no trace of their own agree.
_SAMPLED_BITS = 64
_LOW_BITS = (1 << _SAMPLED_BITS) - 1
_MAX_STATE_BYTES = 512
_MAX_VALUE_BYTES = 256


class Tracer:
    """Begins the spans of a worker's requests. Belongs to the event loop.

    A request whose caller says that it belongs to a trace has a span exactly if the caller records that trace. Of the
    other requests a share has one.

    Args:
        config: The configuration of tracing.
        export: Sends the spans.
    """

    def __init__(self, config: TraceConfig, export: SpanExport) -> None:
        self._bound = round(config.share * (1 << _SAMPLED_BITS))
        self._export = export

    def start(self) -> None:
        """Start the thread that sends the spans. Called after the fork."""
        self._export.start()

    def stop(self) -> None:
        """Send the spans that wait, and end the thread; give up after two seconds. Blocks."""
        self._export.stop()

    def begin(
        self, method: bytes, path: bytes, headers: Headers, *, scheme: str = "http", http_version: str = "1.1"
    ) -> RequestSpan | None:
        """Return the span of a request that begins now; None: it belongs to no trace.

        Args:
            method: The method.
            path: The path, without a query string.
            headers: The headers, with names in lower case.
            scheme: `http` or `https`.
            http_version: The version of HTTP.
        """
        parents = [value for name, value in headers if name == b"traceparent"]
        parent = parse_traceparent(parents[0]) if len(parents) == 1 else None
        if parent is None:
            trace_id = getrandbits(128)
            if trace_id & _LOW_BITS >= self._bound or not trace_id:
                return None
            return RequestSpan(self._export.add, trace_id, 0, True, _head(method, path, headers, scheme, http_version))
        if not parent.is_sampled:
            return RequestSpan(self._export.add, parent.trace_id, parent.span_id, False, Head(method, path))
        head = _head(method, path, headers, scheme, http_version, is_continued=True)
        return RequestSpan(self._export.add, parent.trace_id, parent.span_id, True, head)

    def begin_in(self, scope: MutableMapping[str, Any]) -> None:
        """Begin the span of a request in its ASGI scope, and note its trace for the log, in the request's own task."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        span = self.begin(
            scope["method"].encode(),
            path.partition(b"?")[0],
            scope["headers"],
            scheme=scope["scheme"],
            http_version=scope["http_version"],
        )
        current_trace_id.set("" if span is None else span.hex_id())
        if span is not None:
            scope[SPAN_KEY] = span

    def begin_call(self, method: str, metadata: Headers, scope: MutableMapping[str, Any]) -> None:
        """Begin the span of a call over gRPC, as `begin_in`.

        Args:
            method: The full name of the method.
            metadata: What the client sent with the call.
            scope: Where the span is put.
        """
        span = self.begin(b"POST", f"/{method}".encode(), metadata, http_version="2")
        current_trace_id.set("" if span is None else span.hex_id())
        if span is not None:
            scope[SPAN_KEY] = span


def _head(
    method: bytes, path: bytes, headers: Headers, scheme: str, http_version: str, *, is_continued: bool = False
) -> Head:
    host = user_agent = state = b""
    for name, value in headers:
        if name == b"host":
            host = value[:_MAX_VALUE_BYTES]
        elif name == b"user-agent":
            user_agent = value[:_MAX_VALUE_BYTES]
        elif name == b"tracestate" and is_continued:
            state = b"%b,%b" % (state, value) if state else value
    if len(state) > _MAX_STATE_BYTES:
        state = b""
    return Head(method, path[:_MAX_VALUE_BYTES], scheme, http_version, host, user_agent, state)
