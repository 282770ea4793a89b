"""Spans as objects of OpenTelemetry, and the exporter that sends them by OTLP over HTTP, with protobuf bodies.

The only module that imports OpenTelemetry. It is loaded if there are traces, and not otherwise.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Final, overload

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from astec.server.metrics.board import STAGES
from astec.server.tracing.request_span import RequestSpan

__all__ = ["EXPORTER_LOGGER", "STATE_LOGGER", "OTLPSpanExporter", "SpanBatch", "SpanConverter", "make_exporter", "sent"]

EXPORTER_LOGGER: Final = trace_exporter.__name__
"""The logger to which the exporter says why it could not send spans, once for each try."""
STATE_LOGGER: Final = TraceState.__module__
"""The logger to which the parser of `tracestate` says what is wrong with the header of a client."""

# Methods of RFC 9110 and RFC 5789; the conventions ask for one name for all others, which anybody could make up.
_METHODS = frozenset((b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"))
_host_and_port = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?").fullmatch
_FIRST_ERROR, _FIRST_SERVER_ERROR = 400, 500
# The codes that the conventions ask to be errors of a server; the others are those of a client.
_SERVER_FAULTS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))
_DURATION = "astec.duration_ms"
# A span takes 70 us to convert and encode. The thread must not hold Python's global lock for longer than a few of them.
_SLICE = 8
_SLICE_PAUSE_S = 50e-6

Attributes = dict[str, str | int]


def make_exporter(endpoint: str) -> OTLPSpanExporter:
    """Return an exporter that posts to a URL.

    It reads all else from the environment: OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE and so on.
    """
    return OTLPSpanExporter(endpoint=endpoint)


def sent(result: SpanExportResult) -> bool:
    """Return whether the collector has taken a batch."""
    return result is SpanExportResult.SUCCESS


class SpanConverter:
    """Makes spans of OpenTelemetry, by its semantic conventions for servers of HTTP and of gRPC.

    Args:
        model: Name and version of the model that answers.
        root_path: The prefix under which a proxy shows the server; empty: none.
    """

    def __init__(self, model: tuple[str, str], root_path: str) -> None:
        self._model_name, self._model_version = model
        self._root_path = root_path
        # What the environment says (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) wins.
        given = OTELResourceDetector().detect().attributes
        self._resource = Resource.create({"service.name": "astec", "process.pid": os.getpid(), **given})
        self._scope = InstrumentationScope("astec")

    def convert(self, span: RequestSpan) -> ReadableSpan:
        """Return a span that has ended as one of OpenTelemetry."""
        end_ns = span.begun_ns + round(span.seconds * 1e9)
        sampled = TraceFlags(TraceFlags.SAMPLED)
        state = TraceState.from_header([span.head.trace_state.decode("latin-1")]) if span.head.trace_state else None
        parent = SpanContext(span.trace_id, span.parent_id, True, sampled, state) if span.parent_id else None
        is_failure = span.rpc_code in _SERVER_FAULTS if span.rpc_code else span.status >= _FIRST_SERVER_ERROR
        name, attributes = self._rpc_attributes(span) if span.rpc_code else self._http_attributes(span)
        return ReadableSpan(
            name=name,
            context=SpanContext(span.trace_id, _new_span_id(), False, sampled, state),
            parent=parent,
            resource=self._resource,
            attributes={**attributes, **self._attributes(span)},
            events=list(_events(span, end_ns)),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if is_failure else StatusCode.UNSET),
            start_time=span.begun_ns,
            end_time=end_ns,
            instrumentation_scope=self._scope,
        )

    def _http_attributes(self, span: RequestSpan) -> tuple[str, Attributes]:
        """Return the name of the span of a request, and what the conventions for HTTP say of it."""
        head, method = span.head, _method(span.head.method)
        attributes: Attributes = {
            "http.request.method": method,
            "url.path": head.path.decode("latin-1"),
            "url.scheme": head.scheme,
            "network.protocol.version": head.http_version,
            "http.response.status_code": span.status,
        }
        if span.status >= _FIRST_ERROR:
            attributes["error.type"] = span.error or str(span.status)
        if not span.route:
            return "HTTP" if method == "_OTHER" else method, attributes
        attributes["http.route"] = route = f"{self._root_path}{span.route}"
        return f"{'HTTP' if method == '_OTHER' else method} {route}", attributes

    def _rpc_attributes(self, span: RequestSpan) -> tuple[str, Attributes]:
        """Return the name of the span of a call over gRPC, and what the conventions for gRPC say of it."""
        method = span.route
        attributes: Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "rpc.response.status_code": span.rpc_code,
        }
        if span.rpc_code != "OK":
            attributes["error.type"] = span.rpc_code
        return method, attributes

    def _attributes(self, span: RequestSpan) -> Attributes:
        """Return what spans of both protocols tell."""
        head = span.head
        attributes: Attributes = {}
        if self._model_name:
            attributes |= {"astec.model.name": self._model_name, "astec.model.version": self._model_version}
        host = _host_and_port(head.host.decode("latin-1"))
        if host is not None and host[1]:
            attributes["server.address"] = host[1].strip("[]")
            if host[2]:
                attributes["server.port"] = int(host[2])
        if head.user_agent:
            attributes["user_agent.original"] = head.user_agent.decode("latin-1")
        if span.request_id:
            attributes["astec.request_id"] = span.request_id.decode("latin-1")
        if span.queries:
            attributes["astec.queries"] = span.queries
        if span.batches > 1:
            attributes["astec.batches"] = span.batches
        if span.failed_lines:
            attributes["astec.failed_lines"] = span.failed_lines
        return attributes


class SpanBatch(Sequence[ReadableSpan]):
    """Spans that are converted one by one while the exporter encodes them, with pauses in which requests are answered.

    Args:
        spans: The spans.
        converter: Converts them.
        has_pauses: Whether there is anything else to do.
    """

    def __init__(self, spans: Sequence[RequestSpan], converter: SpanConverter, has_pauses: bool) -> None:
        self._spans = spans
        self._converter = converter
        self._has_pauses = has_pauses

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> ReadableSpan: ...
    @overload
    def __getitem__(self, index: slice) -> SpanBatch: ...
    def __getitem__(self, index: int | slice) -> ReadableSpan | SpanBatch:
        if isinstance(index, slice):
            return SpanBatch(self._spans[index], self._converter, self._has_pauses)
        return self._converter.convert(self._spans[index])

    def __iter__(self) -> Iterator[ReadableSpan]:
        for number, span in enumerate(self._spans, 1):
            yield self._converter.convert(span)
            if self._has_pauses and number % _SLICE == 0:
                time.sleep(_SLICE_PAUSE_S)


def _new_span_id() -> int:
    return int.from_bytes(os.urandom(8)) or 1


def _method(method: bytes) -> str:
    return method.decode() if method in _METHODS else "_OTHER"


def _events(span: RequestSpan, end_ns: int) -> Iterator[Event]:
    """Yield an event for each stage of each ranking, at the time when the stage began.

    Of several batches it is that of the last one. Durations are sums over all batches, as in the header Server-Timing.
    """
    for submitted_s, queue_s, batches in span.rankings:
        at_s = submitted_s
        if queue_s is None:  # The queries were queued, and had no answer in time.
            yield Event("queue", {}, min(end_ns, span.begun_ns + round(at_s * 1e9)))
        elif not batches:
            yield Event("cache", {}, min(end_ns, span.begun_ns + round(at_s * 1e9)))
        else:
            sums_s = [queue_s, *map(sum, zip(*batches, strict=True))]
            for name, sum_s, latest_s in zip(("queue", *STAGES), sums_s, (queue_s, *batches[-1]), strict=True):
                yield Event(name, {_DURATION: sum_s * 1e3}, min(end_ns, span.begun_ns + round(at_s * 1e9)))
                at_s += latest_s
