"""Requests that fail have spans that say so: full queues, deadlines, clients that leave, faults of the server."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from astec.export.artifact.store import Artifact
from astec.server.metrics.logs import QueryFreeFormatter
from tests.server.running_server import FAR_MS, post, running
from tests.server.tracing.collector import ERROR, PATIENCE_S, UNSET, Collector, Received, collecting

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = b"traceparent: 00-%b-b7ad6b7169203331-01" % TRACE.encode()
GOOD = post(b'{"query": "shoes"}', TRACED, b"X-Request-Id: mine")


async def spans_of(collector: Collector, total: int) -> list[Received]:
    return await asyncio.to_thread(collector.until, total)


def told(received: Received) -> tuple[int, str, int]:
    attributes = received.attributes
    return attributes["http.response.status_code"], attributes["error.type"], received.span.status.code


async def test_a_deadline_that_passes_is_an_error(described_artifact: Artifact) -> None:
    with collecting() as collector:
        async with running(described_artifact, otlp_endpoint=collector.url, request_timeout_ms=20) as ours:
            connection = await ours.connect()
            with ours.busy():
                assert (await connection.ask(GOOD))[0] == 504
        (received,) = await spans_of(collector, 1)
    assert told(received) == (504, "deadline-passed", ERROR)
    assert received.trace_id == TRACE
    assert [(event.name, event.attributes) for event in received.events] == [("queue", {})]
    assert received.attributes["astec.queries"] == 1
    assert received.attributes["astec.request_id"] == "mine"


@pytest.mark.parametrize("body", [b'{"query": "shoes"}', b'{"queries": ["shoes", "boots"]}'])
async def test_a_full_queue_is_told_from_a_rate_limit(described_artifact: Artifact, body: bytes) -> None:
    """With one place, one query is refused by its head, and a request with two once it was read."""
    with collecting() as collector:
        knobs: dict[str, Any] = {"queue_capacity": 1, "max_queries_per_request": 2, "request_timeout_ms": FAR_MS}
        async with running(described_artifact, otlp_endpoint=collector.url, otlp_sample=0, **knobs) as ours:
            computed, waiting, refused = await ours.connect(), await ours.connect(), await ours.connect()
            with ours.busy():
                computed.writer.write(post(b'{"query": "shoes"}'))
                await ours.until("astec_batch_size_count 1.0")
                waiting.writer.write(post(b'{"query": "shoes"}'))
                await ours.until("astec_queue_length 1.0")
                status, _, _ = await refused.ask(post(body, TRACED, b"X-Request-Id: mine"))
            assert status == 429
        (received,) = await spans_of(collector, 1)
    assert told(received) == (429, "queue-full", UNSET)
    assert received.attributes["http.route"] == "/predict"
    assert received.attributes["astec.request_id"] == "mine"
    assert (received.trace_id, received.events) == (TRACE, [])


async def test_a_client_that_leaves_is_told(described_artifact: Artifact) -> None:
    with collecting() as collector:
        knobs: dict[str, Any] = {"otlp_endpoint": collector.url, "request_timeout_ms": FAR_MS}
        async with running(described_artifact, **knobs) as ours:
            within_body = await ours.connect()
            within_body.writer.write(GOOD[:-5])
            while not ours.server.server_state.tasks:
                await asyncio.sleep(0.001)
            within_body.writer.close()
            await ours.until('astec_requests_total{route="/predict",status="499"} 1.0')
        (received,) = await spans_of(collector, 1)
    assert told(received) == (499, "client-left", UNSET)


async def test_a_fault_of_the_server_is_an_error_and_its_log_has_the_trace(
    described_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting() as collector:
        async with running(described_artifact, otlp_endpoint=collector.url) as ours:

            def fail(*_: object, **__: object) -> None:
                raise RuntimeError("a fault")

            monkeypatch.setattr(ours.app.app._predict, "to_json", fail)
            connection = await ours.connect()
            assert (await connection.ask(GOOD))[0] == 500
        (received,) = await spans_of(collector, 1)
    assert told(received) == (500, "internal", ERROR)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    line = json.loads(QueryFreeFormatter("%(message)s").format(record))
    assert (line["message"], line["trace_id"], line["request_id"]) == ("a prediction failed", TRACE, "mine")


async def test_answers_of_the_cache_have_an_event(described_artifact: Artifact) -> None:
    with collecting() as collector:
        async with running(described_artifact, otlp_endpoint=collector.url, cache_entries=10) as ours:
            connection = await ours.connect()
            for _ in range(2):
                assert (await connection.ask(GOOD))[0] == 200
        computed, cached = await spans_of(collector, 2)
    assert [event.name for event in computed.events] == ["queue", "featurize", "encode", "shortlist", "score"]
    assert [event.name for event in cached.events] == ["cache"]


async def test_a_long_stream_has_events_of_its_first_blocks_only(described_artifact: Artifact) -> None:
    with collecting() as collector:
        async with running(described_artifact, otlp_endpoint=collector.url) as ours:
            host, port = ours.address
            lines = b'"shoes"\n' * 64 * 30  # in blocks of at most 64 queries, of two batches each
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                answer = await client.post(f"http://{host}:{port}/predict/stream", content=lines)
            assert (answer.status_code, answer.text.count("predictions")) == (200, 64 * 30)
        (received,) = await spans_of(collector, 1)
    assert len(received.events) == 25 * 5
    assert received.attributes["astec.queries"] == 64 * 30
    assert received.attributes["astec.batches"] >= 2 * 30


async def test_strange_headers_of_clients_do_no_harm(
    described_artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting() as collector:
        async with running(described_artifact, otlp_endpoint=collector.url) as ours:
            connection = await ours.connect()
            for fields in (
                (TRACED, b"tracestate: no state at all", b"User-Agent: \xff\xfe"),
                (TRACED, b"tracestate: a=%b" % (b"b" * 600), b"User-Agent: %b" % (b"x" * 5000)),
                (TRACED, TRACED),
                (TRACED.replace(b"-01", b"-01-more"),),
                (TRACED, b"tracestate: a=1", b"tracestate: b=2"),
            ):
                assert (await connection.ask(post(b'{"query": "shoes"}', *fields)))[0] == 200
        spans = await spans_of(collector, 5)
    assert [received.trace_id == TRACE for received in spans] == [True, True, False, False, True]
    assert [received.span.trace_state for received in spans] == ["", "", "", "", "a=1,b=2"]
    assert [len(received.attributes.get("user_agent.original", "")) for received in spans] == [2, 256, 0, 0, 0]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
