"""A collector that speaks OTLP over HTTP: it decodes what is posted to it with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE_S = 120.0
ERROR = Status.STATUS_CODE_ERROR
UNSET = Status.STATUS_CODE_UNSET
SERVER = Span.SPAN_KIND_SERVER


class StageEvent(NamedTuple):
    name: str
    time_ns: int
    attributes: dict[str, Any]


class Received(NamedTuple):
    """A span with what surrounds it."""

    span: Span
    attributes: dict[str, Any]
    events: list[StageEvent]
    resource: dict[str, Any]
    scope: str

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()


def to_dict(attributes: Any) -> dict[str, Any]:
    return {one.key: value_of(one) for one in attributes}


def value_of(attribute: KeyValue) -> Any:
    return getattr(attribute.value, str(attribute.value.WhichOneof("value")))


class Collector:
    """Answers with `status`, after `delay_s`; keeps spans and the headers of their requests."""

    def __init__(self, port: int = 0) -> None:
        self.status, self.delay_s = 200, 0.0
        self.spans: list[Received] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.requests = 0
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, self.headers, body)
                time.sleep(collector.delay_s)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path: str, headers: Any, body: bytes) -> None:
        assert headers["content-type"] == "application/x-protobuf"
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.requests += 1
            self.paths.append(path)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            if self.status == 200:
                self.spans += [
                    Received(
                        span,
                        to_dict(span.attributes),
                        [StageEvent(one.name, one.time_unix_nano, to_dict(one.attributes)) for one in span.events],
                        to_dict(of_resource.resource.attributes),
                        of_scope.scope.name,
                    )
                    for of_resource in request.resource_spans
                    for of_scope in of_resource.scope_spans
                    for span in of_scope.spans
                ]
            self._changed.notify_all()

    def until(self, spans: int = 0, requests: int = 0) -> list[Received]:
        """Wait for so many spans and requests, and return the spans in the order of their begin."""
        with self._changed:
            is_there = self._changed.wait_for(
                lambda: len(self.spans) >= spans and self.requests >= requests, timeout=PATIENCE_S
            )
            assert is_there, (len(self.spans), self.requests)
            return sorted(self.spans, key=lambda received: received.span.start_time_unix_nano)


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    collector = Collector(port)
    thread = threading.Thread(target=collector.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()
