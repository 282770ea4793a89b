"""Overload: the test keeps the only inference thread busy, so that the model is slower than its clients."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from astec.server.app import create_app
from astec.server.http.listeners import open_listeners, url_of
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

QUERY = {"query": "a"}


@contextmanager
def busy_inference(app: FastAPI) -> Iterator[None]:
    release = threading.Event()
    app.state.service.threads.run(release.wait, None)
    try:
        yield
    finally:
        release.set()


async def queued(client: httpx.AsyncClient, length: int) -> None:
    while f"astec_queue_length {length}.0" not in (await client.get("/metrics")).text:
        await asyncio.sleep(0)


async def test_a_full_queue_gets_429_and_when_to_retry(serve) -> None:
    async with serve(inference_threads=1, queue_capacity=1, request_timeout_ms=60_000) as (app, client):
        with busy_inference(app):
            in_flight = asyncio.create_task(client.post("/predict", json=QUERY))
            while "astec_batch_size_count 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
            waiting = asyncio.create_task(client.post("/predict", json=QUERY))
            await queued(client, 1)
            refused = await client.post("/predict", json=QUERY)
            assert (await client.get("/healthz")).status_code == 200
        assert [(await task).status_code for task in (in_flight, waiting)] == [200, 200]
        metrics = (await client.get("/metrics")).text
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert 'astec_shed_total{reason="queue_full"} 1.0' in metrics


async def test_a_batch_request_is_admitted_as_a_whole_or_not_at_all(serve) -> None:
    async with serve(inference_threads=1, queue_capacity=3, request_timeout_ms=60_000) as (app, client):
        with busy_inference(app):
            in_flight = asyncio.create_task(client.post("/predict", json=QUERY))
            while "astec_batch_size_count 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
            waiting = asyncio.create_task(client.post("/predict", json={"queries": ["a", "b"]}))
            await queued(client, 2)
            refused = await client.post("/predict", json={"queries": ["a", "b"]})
            await queued(client, 2)
        assert [(await task).status_code for task in (in_flight, waiting)] == [200, 200]
    assert refused.status_code == 429


async def test_a_request_past_its_deadline_gets_504_and_the_server_goes_on(serve) -> None:
    async with serve(inference_threads=1, request_timeout_ms=50) as (app, client):
        with busy_inference(app):
            late = await client.post("/predict", json=QUERY)
        metrics = (await client.get("/metrics")).text
    assert late.status_code == 504
    assert late.json()["detail"] == "No answer within the deadline of 50 ms."
    assert 'astec_shed_total{reason="deadline"} 1.0' in metrics


async def test_a_client_that_left_is_not_waited_for(serve) -> None:
    async with serve(inference_threads=1, request_timeout_ms=60_000) as (app, client):
        sent = []

        class Exchange:
            disconnected = True

            async def receive(self):
                return {"type": "http.request", "body": b'{"query": "a"}'}

        async def send(message) -> None:
            sent.append(message)

        request = client.build_request("POST", "/predict")
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "headers": request.headers.raw,
            "query_string": b"",
        }
        with busy_inference(app):
            await app(scope, Exchange().receive, send)
        metrics = (await client.get("/metrics")).text
    assert sent[0]["status"] == 499
    assert 'astec_shed_total{reason="client_left"} 1.0' in metrics
    assert 'astec_requests_total{route="/predict",status="499"} 1.0' in metrics


async def test_a_real_client_that_closes_its_connection_is_not_computed(opened_artifact) -> None:
    settings = Settings(artifact=opened_artifact.path, inference_threads=1, request_timeout_ms=60_000)
    app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0))
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    # The HTTP protocol class of the server: only its request cycle has the flag `disconnected`.
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx.AsyncClient(base_url=url_of(listener)) as client:
        while not server.started:
            await asyncio.sleep(0.01)
        with busy_inference(app):
            in_flight = asyncio.create_task(client.post("/predict", json=QUERY))
            while "astec_batch_size_count 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b'POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 14\r\n\r\n{"query": "b"}')
            await queued(client, 1)
            writer.close()
            await writer.wait_closed()
            # When this is answered, the server has seen the end of the connection, which came before.
            await client.get("/healthz")
        assert (await in_flight).status_code == 200
        await queued(client, 0)
        metrics = (await client.get("/metrics")).text
    server.should_exit = True
    await serving
    assert 'astec_shed_total{reason="client_left"} 1.0' in metrics
    assert "astec_batch_size_count 1.0" in metrics


async def test_before_the_model_is_loaded_only_liveness_answers(opened_artifact) -> None:
    settings = Settings(artifact=opened_artifact.path)
    app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/readyz", "/v1/model"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["detail"] == "The model is loading."
            assert "retry-after" in response.headers
        assert (await client.post("/predict", json=QUERY)).status_code == 503


async def test_while_draining_accepted_work_ends_and_new_work_gets_503(serve) -> None:
    async with serve(inference_threads=1, request_timeout_ms=60_000) as (app, client):
        with busy_inference(app):
            accepted = asyncio.create_task(client.post("/predict", json=QUERY))
            while "astec_batch_size_count 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
            stopping = asyncio.create_task(app.state.service.stop())
            await asyncio.sleep(0)
            assert (await client.get("/readyz")).status_code == 503
            refused = await client.post("/predict", json=QUERY)
            assert (await client.get("/healthz")).status_code == 200
        await stopping
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert (await accepted).status_code == 200
