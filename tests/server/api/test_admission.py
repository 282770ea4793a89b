"""Requests that are refused by their head while the queue is full, on raw sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from astec.server.app import create_app
from astec.server.http.listeners import open_listeners
from astec.server.http.protocol import ADMISSION_POLICY, MAX_HEAD_BYTES, BoundedHttp
from astec.server.metrics.board import MetricsBoard
from astec.server.metrics.exposition import render_exposition
from astec.server.settings import Settings
from tests.server.raw_connection import Connection

BODY = b'{"query": "a"}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 14\r\n\r\n"
PREDICT = HEAD + BODY
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"


@asynccontextmanager
async def full_server(opened_artifact) -> AsyncIterator[tuple[uvicorn.Server, asyncio.Event, list[Connection]]]:
    """A server whose only thread is busy until the event and whose queue is full, and three connections to it."""
    settings = Settings(artifact=opened_artifact.path, inference_threads=1, queue_capacity=1, request_timeout_ms=60_000)
    app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0))
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    server = uvicorn.Server(uvicorn.Config(app, http=BoundedHttp, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocked = app.state.service.threads.run(
        lambda event: asyncio.run_coroutine_threadsafe(event.wait(), loop).result(), release
    )
    connections = [Connection(*await asyncio.open_connection(*listener.getsockname())) for _ in range(3)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        for connection, series in zip(connections, ("astec_batch_size_count", "astec_queue_length"), strict=False):
            connection.writer.write(PREDICT)
            while f"{series} 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
    try:
        yield server, release, connections
    finally:
        release.set()
        await blocked
        for connection in connections:
            connection.writer.close()
        server.should_exit = True
        await serving


async def test_a_full_queue_refuses_a_head_and_the_connection_goes_on(opened_artifact) -> None:
    async with full_server(opened_artifact) as (server, release, (first, second, client)):
        for _ in range(2):
            client.writer.write(PREDICT.replace(b"\r\n", b"\r\nX-Request-Id: mine\r\n", 1))
            status, headers, body = await client.answer()
            assert headers["x-request-id"] == "mine"
            assert (status, headers["retry-after"], headers["content-type"]) == (429, "1", "application/problem+json")
            assert json.loads(body)["detail"].startswith("All places in the queue are taken.")
            assert "date" in headers
        client.writer.write(HEALTH)
        assert (await client.answer())[0] == 200
        release.set()
        assert [(await connection.answer())[0] for connection in (first, second)] == [200, 200]
        client.writer.write(PREDICT)
        assert (await client.answer())[0] == 200
        exposition = render_exposition(server.config.app.state.metrics).decode()
    assert 'astec_shed_total{reason="queue_full"} 2.0' in exposition
    assert 'astec_requests_total{route="/predict",status="429"} 2.0' in exposition


async def test_the_answer_does_not_wait_for_the_body(opened_artifact) -> None:
    async with full_server(opened_artifact) as (_, _, (_, _, client)):
        client.writer.write(HEAD)
        assert (await client.answer())[0] == 429
        client.writer.write(BODY + HEALTH)
        assert (await client.answer())[0] == 200


async def test_a_long_body_of_a_refused_request_is_dropped(opened_artifact) -> None:
    async with full_server(opened_artifact) as (_, _, (_, _, client)):
        client.writer.write(HEAD.replace(b"14", b"%d" % (4 * MAX_HEAD_BYTES)))
        assert (await client.answer())[0] == 429
        client.writer.write(b" " * (4 * MAX_HEAD_BYTES) + HEALTH)
        assert (await client.answer())[0] == 200


async def test_a_connection_that_is_not_kept_is_closed_after_the_refusal(opened_artifact) -> None:
    async with full_server(opened_artifact) as (_, _, (_, _, client)):
        client.writer.write(PREDICT.replace(b"Host: t", b"Connection: close"))
        assert (await client.answer())[0] == 429
        assert await client.at_end()


async def test_a_refused_client_that_stalls_its_body_is_closed_without_a_second_answer(opened_artifact) -> None:
    async with full_server(opened_artifact) as (server, _, (_, _, client)):
        client.writer.write(HEAD)
        assert (await client.answer())[0] == 429
        (stalled,) = [each for each in server.server_state.connections if each.waits_for_client()]
        stalled.give_up()
        assert await client.at_end()


async def test_while_the_server_drains_a_refusal_closes_its_connection(opened_artifact) -> None:
    async with full_server(opened_artifact) as (server, _, (_, _, client)):
        server.server_state.default_headers.append((b"connection", b"close"))
        client.writer.write(PREDICT)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (429, "close")
        assert await client.at_end()


async def test_behind_a_request_that_is_not_answered_yet_the_next_one_waits_its_turn(opened_artifact) -> None:
    async with full_server(opened_artifact) as (_, release, (first, second, _)):
        second.writer.write(HEALTH)
        first.writer.write(PREDICT)
        release.set()
        assert [(await second.answer())[0] for _ in range(2)] == [200, 200]
        assert [(await first.answer())[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(("method", "target"), [(b"GET", b"/predict"), (b"POST", b"/healthz"), (b"GET", b"/readyz")])
async def test_only_predictions_are_refused(opened_artifact, method: bytes, target: bytes) -> None:
    async with full_server(opened_artifact) as (server, _, _):
        assert server.lifespan.state[ADMISSION_POLICY].refusal(b"POST", b"/predict", []) is not None
        assert server.lifespan.state[ADMISSION_POLICY].refusal(method, target, []) is None
