"""A real server sends a span for each request to a collector, by OpenTelemetry's own protocol."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from astec.export.artifact.store import Artifact
from tests.server.tracing.collector import PATIENCE_S, SERVER, UNSET, Received, collecting

pytestmark = pytest.mark.e2e

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1,other=x:y"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
STAGES = ["queue", "featurize", "encode", "shortlist", "score"]
SECRET = "xyzzyplugh"


class Server(NamedTuple):
    process: subprocess.Popen[str]
    client: httpx.Client
    log: Path

    def stop(self) -> float:
        """Stop the server, and return the seconds that this took."""
        begun_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
        return time.monotonic() - begun_s

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return 0.0 if found is None else float(found[1])


@contextmanager
def traced(artifact: Path, endpoint: str, tmp_path: Path, *flags: object, **environment: str) -> Iterator[Server]:
    log = tmp_path / "stderr"
    command = [sys.executable, "-m", "astec.server", artifact, "--port", 0, "--drain-s", 0, "--workers", 1]
    command += ["--otlp-endpoint", endpoint, *flags]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None, log.read_text()
            with httpx.Client(base_url=address[0], timeout=PATIENCE_S) as client:
                yield Server(process, client, log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def by_id(spans: list[Received]) -> dict[str, Received]:
    """The spans by the id of their request, which each request of these tests has."""
    return {received.attributes["astec.request_id"]: received for received in spans}


def test_every_path_has_a_span_with_its_parent_attributes_and_stages(
    described_artifact: Artifact, tmp_path: Path
) -> None:
    model = described_artifact.manifest.model
    tensor = {"name": "query", "datatype": "BYTES", "shape": [2], "data": ["shoes", "a hose"]}
    infer = f"/v2/models/{model.name}/infer"
    with collecting() as collector, traced(described_artifact.path, collector.url, tmp_path) as server:
        ask = server.client.request

        def send(request_id: str, method: str, path: str, **options) -> int:
            headers = {"x-request-id": request_id, "user-agent": "tests/1", **SAMPLED}
            return ask(method, path, headers=headers, **options).status_code

        assert send("one", "POST", "/predict", json={"query": SECRET}) == 200
        assert send("asgi", "POST", "/predict?a=secret", json={"query": SECRET}) == 200
        assert send("many", "POST", "/predict", json={"queries": ["shoes"] * 70}) == 200
        assert send("invalid", "POST", "/predict", json={"query": "a", "top_k": 0}) == 422
        assert send("stream", "POST", "/predict/stream", content=b'"a"\n{"top_k": 1}\n{"queries": ["b", "c"]}\n') == 200
        assert send("infer", "POST", infer, json={"inputs": [tensor]}) == 200
        assert send("unknown-model", "GET", "/v2/models/x") == 404
        assert send("health", "HEAD", "/healthz") == 200
        assert send("nowhere", "GET", f"/nowhere/{'x' * 400}") == 404
        assert send("method", "PROPFIND", "/predict") == 405
        server.stop()
        spans = by_id(collector.until(10))
        assert len(collector.spans) == 10
        assert set(collector.paths) == {"/v1/traces"}
    assert SECRET not in repr(collector.spans)
    for received in spans.values():
        span, attributes = received.span, received.attributes
        assert (received.trace_id, received.parent_id) == (TRACE, SPAN)
        assert span.trace_state == SAMPLED["tracestate"]
        assert (span.kind, received.scope, span.status.code) == (SERVER, "astec", UNSET)
        assert span.start_time_unix_nano < span.end_time_unix_nano
        assert attributes["server.address"] == "127.0.0.1"
        assert attributes["server.port"] == int(str(server.client.base_url).rpartition(":")[2].rstrip("/"))
        assert attributes["user_agent.original"] == "tests/1"
        assert (attributes["url.scheme"], attributes["network.protocol.version"]) == ("http", "1.1")
        assert (attributes["astec.model.name"], attributes["astec.model.version"]) == (model.name, model.version)
        assert received.resource["service.name"] == "astec"
        assert received.resource["process.pid"] != server.process.pid
        times_ns = [event.time_ns for event in received.events]
        assert times_ns == sorted(times_ns)
        assert all(span.start_time_unix_nano <= at_ns <= span.end_time_unix_nano for at_ns in times_ns)
    assert len({received.span.span_id for received in spans.values()}) == 10

    def told(name: str, *keys: str) -> tuple[object, ...]:
        return (spans[name].span.name, *[spans[name].attributes.get(key) for key in keys])

    http = ("http.request.method", "http.route", "url.path", "http.response.status_code", "error.type")
    assert told("one", *http) == ("POST /predict", "POST", "/predict", "/predict", 200, None)
    assert told("asgi", *http) == told("one", *http)
    assert told("invalid", *http) == ("POST /predict", "POST", "/predict", "/predict", 422, "invalid-field")
    assert told("infer", *http)[2:] == ("/v2/models/{name}/infer", infer, 200, None)
    assert told("unknown-model", *http)[3:] == ("/v2/models/x", 404, "unknown-model")
    assert told("health", *http) == ("HEAD /healthz", "HEAD", "/healthz", "/healthz", 200, None)
    assert told("nowhere", *http) == ("GET", "GET", None, f"/nowhere/{'x' * 247}", 404, "404")
    assert told("method", *http)[:2] == ("HTTP /predict", "_OTHER")
    work = ("astec.queries", "astec.batches", "astec.failed_lines")
    assert told("one", *work)[1:] == told("asgi", *work)[1:] == (1, None, None)
    assert told("many", *work)[1:] == (70, 3, None)
    assert told("stream", *work)[1:] == (3, None, 1)
    assert told("infer", *work)[1:] == (2, None, None)
    assert told("health", *work)[1:] == told("invalid", *work)[1:] == (None, None, None)
    for name in ("one", "asgi", "many", "stream", "infer"):
        assert [event.name for event in spans[name].events] == STAGES
        assert all(event.attributes["astec.duration_ms"] > 0 for event in spans[name].events)
    for name in ("one", "asgi", "infer"):  # In one batch: a stage begins when the one before it ends.
        events = spans[name].events
        for before, after in pairwise(events):
            passed_ms = (after.time_ns - before.time_ns) / 1e6
            assert passed_ms == pytest.approx(before.attributes["astec.duration_ms"], abs=1e-3)
    assert not spans["invalid"].events
    assert not spans["health"].events


def test_the_caller_and_the_share_decide_which_requests_are_recorded(
    described_artifact: Artifact, tmp_path: Path
) -> None:
    with (
        collecting() as collector,
        traced(described_artifact.path, collector.url, tmp_path, "--otlp-sample", 0.25) as server,
    ):
        for _ in range(400):
            server.client.post("/predict", json={"query": "a"})
        for number in range(40):
            headers = (NOT_SAMPLED, SAMPLED)[number % 2]
            server.client.post("/predict", json={"query": "a"}, headers=headers)
            server.client.get("/healthz", headers=headers)
        server.client.post("/predict", json={"query": "a"}, headers={"traceparent": "00-nonsense"})
        server.stop()
    roots = [received for received in collector.spans if not received.parent_id]
    assert 40 < len(roots) < 170  # 100 of 400 are expected; either bound is six standard deviations away.
    assert len({received.trace_id for received in roots}) == len(roots)
    assert {received.span.trace_state for received in roots} == {""}
    continued = [received for received in collector.spans if received.parent_id]
    assert [received.trace_id for received in continued] == [TRACE] * 40


def test_with_a_share_of_nothing_only_callers_that_record_are(described_artifact: Artifact, tmp_path: Path) -> None:
    with (
        collecting() as collector,
        traced(described_artifact.path, collector.url, tmp_path, "--otlp-sample", 0) as server,
    ):
        for headers in ({}, SAMPLED, {}, NOT_SAMPLED):
            server.client.post("/predict", json={"query": "a"}, headers=headers)
        server.stop()
    assert [received.trace_id for received in collector.spans] == [TRACE]


def test_the_environment_names_the_service_and_gives_the_keys_of_the_collector(
    described_artifact: Artifact, tmp_path: Path
) -> None:
    environment = {
        "OTEL_SERVICE_NAME": "ads-matcher",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging,service.version=7",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret,x-scope=a%20b",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    flags = ("--root-path", "/ml")
    with collecting() as collector:
        endpoint = f"{collector.url}/otlp/v1/traces?tenant=1"
        with traced(described_artifact.path, endpoint, tmp_path, *flags, **environment) as server:
            server.client.post("/ml/predict", json={"query": "a"})
            server.stop()
        (received,) = collector.spans
    assert received.resource["service.name"] == "ads-matcher"
    assert received.resource["service.version"] == "7"
    assert received.resource["deployment.environment.name"] == "staging"
    assert received.attributes["http.route"] == "/ml/predict"
    assert collector.paths == ["/otlp/v1/traces?tenant=1"]
    assert collector.headers[0]["api-key"] == "s3cret"
    assert collector.headers[0]["x-scope"] == "a b"
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert "s3cret" not in server.log.read_text()


def test_all_workers_send_and_the_exemplars_are_on_one_page(described_artifact: Artifact, tmp_path: Path) -> None:
    with (
        collecting() as collector,
        traced(described_artifact.path, collector.url, tmp_path, "--workers", 2) as server,
    ):
        url = str(server.client.base_url)
        while len({received.resource["process.pid"] for received in collector.spans}) < 2:
            # Each is a new connection, which either worker may accept.
            httpx.post(f"{url}/predict", json={"query": "a"}, timeout=PATIENCE_S)
            time.sleep(0.05)
        asks = {"accept": "application/openmetrics-text;version=1.0.0"}
        page = server.client.get("/metrics", headers=asks)
        assert page.headers["content-type"].startswith("application/openmetrics-text")
        samples = [one for family in text_string_to_metric_families(page.text) for one in family.samples]
        exemplars = [one for one in samples if one.exemplar is not None and one.labels["route"] == "/predict"]
        assert exemplars
        durations_s = {
            received.trace_id: (received.span.end_time_unix_nano - received.span.start_time_unix_nano) / 1e9
            for received in collector.spans
        }
        for sample in exemplars:
            trace_id = sample.exemplar.labels["trace_id"]
            assert durations_s[trace_id] == pytest.approx(sample.exemplar.value, abs=1e-8)
            assert sample.exemplar.value <= float(sample.labels["le"])
        server.stop()
        pids = {received.resource["process.pid"] for received in collector.spans}
        instances = {received.resource["service.instance.id"] for received in collector.spans}
    assert len(pids) == len(instances) == 2


def test_a_drain_sends_what_waits(described_artifact: Artifact, tmp_path: Path) -> None:
    with collecting() as collector, traced(described_artifact.path, collector.url, tmp_path) as server:
        for _ in range(700):  # more than a batch
            server.client.post("/predict", json={"query": "a"})
        server.stop()
    assert len(collector.spans) == 700
    assert "Traceback" not in server.log.read_text()


def test_a_worker_that_is_replaced_sends_what_waits(described_artifact: Artifact, tmp_path: Path) -> None:
    with collecting() as collector, traced(described_artifact.path, collector.url, tmp_path) as server:
        url, answered = str(server.client.base_url), 0

        def ask_five() -> None:
            nonlocal answered
            for _ in range(5):  # each on a new connection, which the worker that listens now accepts
                assert httpx.post(f"{url}/predict", json={"query": "a"}, timeout=PATIENCE_S).status_code == 200
                answered += 1

        ask_five()
        server.process.send_signal(signal.SIGHUP)
        while not server.metric('astec_reloads_total{outcome="done"}'):
            ask_five()
        ask_five()
        server.stop()
        predictions = [one for one in collector.spans if one.attributes["http.route"] == "/predict"]
    assert len(predictions) == answered
    assert len({received.resource["process.pid"] for received in collector.spans}) == 2


@pytest.mark.parametrize("fault", ["down", "slow", "refuses"])
def test_a_collector_that_does_not_take_spans_delays_neither_answers_nor_the_drain(
    described_artifact: Artifact, tmp_path: Path, fault: str
) -> None:
    with collecting() as collector:
        if fault == "down":
            collector.server.socket.close()
        collector.status = 503 if fault == "refuses" else 200
        collector.delay_s = 4 * PATIENCE_S if fault == "slow" else 0.0
        flags = ("--shutdown-timeout-s", 5)
        environment = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3" if fault == "refuses" else "10"}
        with traced(described_artifact.path, collector.url, tmp_path, *flags, **environment) as server:
            for _ in range(50):
                assert server.client.post("/predict", json={"query": "a"}).status_code == 200
            if fault == "slow":
                collector.until(requests=1)
            if fault == "refuses":
                while not server.metric('astec_spans_dropped_total{reason="export_failed"}'):
                    time.sleep(0.02)
                assert server.metric("astec_spans_exported_total") == 0
            server.stop()  # The parent would kill a worker that took longer than it may, and say so.
            lines = server.lines()
    assert not [line for line in lines if "killed" in str(line["message"])]
    warnings = [str(line["message"]) for line in lines if line["level"] == "WARNING"]
    assert len(warnings) == 1, warnings
    assert not [line for line in lines if line["level"] == "ERROR"]
    if fault == "slow":
        assert re.search(rf"[1-9]\d* spans were not sent to {collector.url}/v1/traces within 2 s", warnings[0])
    else:
        assert "spans are dropped" in warnings[0]
        assert f"{collector.url}/v1/traces" in warnings[0]
        assert ("refused" if fault == "down" else "Service Unavailable") in warnings[0]


def test_lines_of_the_log_have_the_trace_of_their_request(described_artifact: Artifact, tmp_path: Path) -> None:
    flags = ("--access-log", "--otlp-sample", 0)
    with collecting() as collector, traced(described_artifact.path, collector.url, tmp_path, *flags) as server:
        other = {"traceparent": f"00-{'ab' * 16}-{SPAN}-00"}
        server.client.post("/predict", json={"query": "a"}, headers=SAMPLED)
        server.client.get("/healthz", headers=other)
        server.client.get("/readyz")
        server.stop()
    lines = {
        str(line["message"]).split('"')[1].split()[1]: line
        for line in server.lines()
        if line["logger"] == "uvicorn.access"
    }
    assert lines["/predict"]["trace_id"] == TRACE
    assert lines["/healthz"]["trace_id"] == "ab" * 16  # not recorded here, but elsewhere it has lines too
    assert "trace_id" not in lines["/readyz"]
    assert not [line for line in server.lines() if line["logger"] != "uvicorn.access" and "trace_id" in line]


@pytest.mark.parametrize("flag", [False, True])
def test_a_server_without_the_flag_loads_nothing_of_it(
    described_artifact: Artifact, tmp_path: Path, flag: bool
) -> None:
    """The libraries of a process are in its map of memory, and its threads in its folder."""
    with collecting() as collector:
        command = [sys.executable, "-m", "astec.server", described_artifact.path, "--port", 0, "--workers", 1]
        with subprocess.Popen(
            [*map(str, command), *(["--otlp-endpoint", collector.url] if flag else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert "Serving" in process.stdout.readline()
            (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert ("google/_upb" in Path(f"/proc/{worker}/maps").read_text()) is flag
            process.terminate()
            process.wait(PATIENCE_S)


LOADED = """
import sys
from astec.server import __main__, app
from astec.server.http import serve
from astec.server.tracing import request_span, trace_config, tracer
heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests")
print([name for name in heavy if name in sys.modules])
"""


def test_nothing_of_opentelemetry_is_imported_with_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_collector_of_these_tests_notices_what_is_no_span() -> None:
    with collecting() as collector, pytest.raises(Exception, match=r"parsing|decode|truncated"):
        collector.take("/v1/traces", {"content-type": "application/x-protobuf"}, b"\xff\xff")
