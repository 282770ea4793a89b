"""The Open Inference Protocol in JSON: answers and refusals."""

import asyncio
import dataclasses
import json
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.export.artifact.store import Artifact
from astec.server.access.access_control import open_access_control
from astec.server.app import create_app
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

INFER = "/v2/models/demo/infer"
LENGTH = "Inference-Header-Content-Length"
KEY = "0123456789abcdef" * 2
SECRET = "xyzzyplugh"


def query(*texts: str, **fields: object) -> dict:
    return {"name": "query", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)} | fields


def top_k(*numbers: int, **fields: object) -> dict:
    return {"name": "top_k", "datatype": "INT32", "shape": [1], "data": list(numbers)} | fields


def without_data(tensor: dict) -> dict:
    return {key: value for key, value in tensor.items() if key != "data"}


def error_of(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


async def test_an_answer_has_what_predict_answers(serve) -> None:
    async with serve() as (app, client):
        texts = [app.state.service.artifact.labels[0], ""]
        native = (await client.post("/predict", json={"queries": texts, "probabilities": True})).json()
        response = await client.post(INFER, json={"inputs": [query(*texts)]})
    first, second = (result["predictions"] for result in native["results"])
    assert second == []
    rows = first + [{"label": "", "label_id": -1, "score": 0, "probability": 0}] * (10 - len(first))
    probabilities = [label["probability"] for label in rows]
    assert response.json() == {
        "model_name": native["model"]["name"],
        "model_version": native["model"]["version"],
        "outputs": [
            {"name": "labels", "datatype": "BYTES", "shape": [2, 5], "data": [label["label"] for label in rows]},
            {"name": "label_ids", "datatype": "INT64", "shape": [2, 5], "data": [label["label_id"] for label in rows]},
            {"name": "scores", "datatype": "FP32", "shape": [2, 5], "data": [label["score"] for label in rows]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 5], "data": probabilities},
        ],
    }
    assert response.headers["content-type"] == "application/json"
    assert LENGTH not in response.headers
    assert response.headers["server-timing"].startswith("queue;dur=")


async def test_a_model_without_calibration_has_no_probabilities(opened_artifact: Artifact, serving) -> None:
    manifest = opened_artifact.manifest.model_copy(update={"calibration": None})
    asked = {"inputs": [query("a")]}
    async with serving(dataclasses.replace(opened_artifact, manifest=manifest))() as (_, client):
        metadata = (await client.get("/v2/models/demo")).json()
        answer = (await client.post(INFER, json=asked)).json()
        wanted = [{"name": "scores"}, {"name": "probabilities"}]
        error = error_of(await client.post(INFER, json=asked | {"outputs": wanted}), 400)
    for outputs in (metadata["outputs"], answer["outputs"]):
        assert [output["name"] for output in outputs] == ["labels", "label_ids", "scores"]
    assert error.startswith("outputs.1: The model does not know how likely a label is right")


async def test_what_the_protocol_has_beside_is_not_minded(serve) -> None:
    async with serve() as (_, client):
        parameters = {"sequence_id": 7, "priority": 1, "timeout": 1000, "binary_data_output": False}
        asked = {"id": "a", "parameters": parameters, "inputs": [query("a", parameters={"content_type": "str"})]}
        response = await client.post(INFER, json=asked | {"outputs": [{"name": "scores"}]})
    assert response.status_code == 200
    assert response.json()["id"] == "a"
    assert [output["name"] for output in response.json()["outputs"]] == ["scores"]


INVALID = [
    pytest.param({}, "inputs: Field required", id="no-inputs"),
    pytest.param({"inputs": []}, "inputs: There is no query", id="empty-inputs"),
    pytest.param({"inputs": [top_k(3)]}, "inputs: There is no query", id="no-query"),
    pytest.param({"inputs": [query("a", name="text")]}, "inputs.0: An input is an object whose name", id="name"),
    pytest.param({"inputs": ["query"]}, "inputs.0: An input is an object whose name", id="no-object"),
    pytest.param({"inputs": [query("a", datatype="FP32")]}, "inputs.0.datatype: Input should be 'BYTES'", id="type"),
    pytest.param({"inputs": [query("a"), top_k(3, datatype="INT64")]}, "inputs.1.datatype: Input .*INT32", id="int64"),
    pytest.param({"inputs": [query("a", shape=[1, 1])]}, "inputs.0.shape: List should have at most 1", id="rank"),
    pytest.param({"inputs": [query("a", shape=[])]}, "inputs.0.shape: List should have at least 1", id="scalar"),
    pytest.param({"inputs": [query("a", shape=[-1])]}, "inputs.0.shape.0: Input should be greater", id="negative"),
    pytest.param({"inputs": [query("a", shape=[10**300])]}, "inputs.0.shape.0: Input should be less", id="huge"),
    pytest.param({"inputs": [query()]}, "inputs.0.shape.0: Input should be greater", id="no-texts"),
    pytest.param({"inputs": [query("a", shape=[2])]}, "inputs.0: There are 1 elements, but 2 by the", id="fewer"),
    pytest.param({"inputs": [query("a", "b", shape=[1])]}, "inputs.0: There are 2 elements, but 1 by", id="more"),
    pytest.param({"inputs": [query("a", data=[1])]}, "inputs.0.data.0: Input should be a valid string", id="number"),
    pytest.param({"inputs": [query("a"), query("b")]}, "inputs.1: There is another query", id="twice"),
    pytest.param({"inputs": [without_data(query("a"))]}, "inputs.0: Give either data, or bytes", id="no-data"),
    pytest.param(
        {"inputs": [query("a", parameters={"binary_data_size": 0})]}, "inputs.0: Give either data, or bytes", id="both"
    ),
    pytest.param({"inputs": [query("a"), top_k(0)]}, "top_k: Input should be greater than or equal to 1", id="zero"),
    pytest.param({"inputs": [query("a"), top_k(101)]}, "top_k: Input should be less than or equal to 100", id="101"),
    pytest.param({"inputs": [query("a"), top_k(3, 4, shape=[2])]}, "inputs.1.shape.0: Input should be 1", id="two"),
    pytest.param({"inputs": [query("a")], "parameters": {"top_k": "3"}}, "parameters.top_k: Input should", id="string"),
    pytest.param({"inputs": [query("a")], "parameters": {"min_score": 2}}, "min_score: Input should be less", id="2"),
    pytest.param(
        {"inputs": [query("a"), top_k(3)], "parameters": {"top_k": 3}}, "parameters.top_k: It is an input", id="k-twice"
    ),
    pytest.param({"inputs": [query("a")], "outputs": [{"name": "label"}]}, "outputs.0.name: Input should", id="output"),
    pytest.param({"inputs": [query("a"), *[top_k(3)] * 9]}, "inputs: List should have at most 2", id="inputs"),
    pytest.param(
        {"inputs": [query("a")], "outputs": [{"name": "labels"}] * 9}, "outputs: List should have at", id="outputs"
    ),
    pytest.param({"inputs": [query("a", "b" * 11)]}, "queries.1: The query has 11 characters; the limit", id="long"),
    pytest.param({"inputs": [query(*"abcd")]}, "inputs.0: 4 queries are more than the limit of 3", id="many"),
]


@pytest.mark.parametrize(("asked", "complaint"), INVALID)
async def test_what_the_model_does_not_take_gets_400_and_its_reason(serve, asked: dict, complaint: str) -> None:
    async with serve(max_query_chars=10, max_queries_per_request=3) as (_, client):
        error = error_of(await client.post(INFER, json=asked), 400)
    assert re.match(complaint, error), error


HEAD = b'{"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}'


@pytest.mark.parametrize(
    ("tail", "size", "header", "complaint"),
    [
        (b"\x01\x00\x00\x00a", 5, "x", f"{LENGTH}: It is no number of bytes"),
        (b"\x01\x00\x00\x00a", 5, "-1", f"{LENGTH}: It is no number of bytes"),
        (b"\x01\x00\x00\x00a", 5, "1000", f"{LENGTH}: It is no number of bytes"),
        (b"\x01\x00\x00\x00a", 5, "10", "The body is not JSON"),
        (b"\x01\x00\x00\x00a", 5, None, "The body is not JSON"),
        (b"\x01\x00\x00\x00a", 4, "all", "inputs.0: Element 0 ends after the 4 bytes"),
        (b"\x01\x00\x00\x00a", 6, "all", "inputs.0: Of 6 bytes 5 are there"),
        (b"\x01\x00\x00\x00ab", 5, "all", "inputs: 1 bytes behind the JSON"),
        (b"\x01\x00\x00\x00\xff", 5, "all", "inputs.0: Element 0 is not UTF-8"),
        (b"", -1, "all", "inputs.0.parameters.binary_data_size: Input should be greater"),
    ],
    ids=["no-number", "negative", "beyond", "short", "none", "cut", "announced", "left-over", "not-utf8", "minus-one"],
)
async def test_bytes_that_do_not_fit_get_400(serve, tail: bytes, size: int, header: str | None, complaint: str) -> None:
    head = HEAD % size
    headers = {} if header is None else {LENGTH: str(len(head)) if header == "all" else header}
    async with serve() as (_, client):
        error = error_of(await client.post(INFER, content=head + tail, headers=headers), 400)
    assert re.match(complaint, error), error


async def test_errors_never_quote_the_query(serve) -> None:
    bodies = [
        {"inputs": [query(SECRET, datatype=SECRET)]},
        {"inputs": [query("a", name=SECRET)]},
        {"inputs": [query("a", data=SECRET)]},
        {"inputs": [query(SECRET)], "outputs": [{"name": SECRET}]},
        {"inputs": [query(SECRET * 1000)]},
        {"inputs": [query(SECRET, shape=[2])]},
    ]
    async with serve() as (_, client):
        for body in bodies:
            assert SECRET not in error_of(await client.post(INFER, json=body), 400)
        assert SECRET not in error_of(await client.get(f"/v2/models/{SECRET}"), 404)


async def test_errors_of_every_kind_are_the_protocols(serve) -> None:
    asked = {"inputs": [query("a")]}
    async with serve(max_body_bytes=1000) as (app, client):
        error_of(await client.post(INFER, content=b"{"), 400)
        error_of(await client.post(INFER, content=b" " * 1001), 413)
        error_of(await client.get(INFER), 405)
        error_of(await client.get("/v2/repository/index"), 404)
        error_of(await client.post("/v2/models/another/infer", json=asked), 404)
        error_of(await client.post("/v2/models/demo/versions/another/infer", json=asked), 404)
        app.drain()
        error_of(await client.get("/v2/health/ready"), 503)
        error_of(await client.get("/v2/models/demo/ready"), 503)
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.post(INFER, json=asked)).status_code == 200
        native = await client.get("/v2x")
    assert native.headers["content-type"] == "application/problem+json"


async def test_a_full_queue_gets_429_and_counts_as_shed(serve) -> None:
    asked = {"inputs": [query("a")]}
    async with serve(queue_capacity=1, inference_threads=1, inline_batch_us=0, request_timeout_ms=60_000) as (
        app,
        client,
    ):
        release, under_way = threading.Event(), []
        blocked = app.state.service.threads.run(lambda event: event.wait(), release)
        for series in ("astec_batch_size_count 1.0", "astec_queue_length 1.0"):
            under_way.append(asyncio.create_task(client.post(INFER, json=asked)))
            while series not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
        refused = await client.post(INFER, json=asked)
        release.set()
        await blocked
        answered = [(await each).status_code for each in under_way]
        metrics = (await client.get("/metrics")).text
    assert answered == [200, 200]
    assert "1 of 1 places in the queue are taken" in error_of(refused, 429)
    assert refused.headers["retry-after"] == "1"
    assert 'astec_shed_total{reason="queue_full"} 1.0' in metrics


async def test_a_deadline_that_passes_gets_504(serve) -> None:
    async with serve(request_timeout_ms=1, inference_threads=1, inline_batch_us=0) as (app, client):
        release = threading.Event()
        blocked = app.state.service.threads.run(lambda event: event.wait(), release)
        late = await client.post(INFER, json={"inputs": [query("a")]})
        release.set()
        await blocked
    assert "No answer within the deadline of 1 ms" in error_of(late, 504)


class Exchange:
    """A stand-in for uvicorn's request cycle: its flag tells that the client has disconnected."""

    disconnected = True

    async def receive(self) -> dict:
        return {"type": "http.request", "body": json.dumps({"inputs": [query("a")]}).encode()}


async def test_a_client_that_left_is_counted_and_nothing_is_raised(serve) -> None:
    sent = []

    async def send(message: dict) -> None:
        sent.append(message)

    async with serve() as (app, client):
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": INFER,
            "headers": [],
            "query_string": b"",
            "server": None,
        }
        await app(scope, Exchange().receive, send)
        metrics = (await client.get("/metrics")).text
    assert sent[0]["status"] == 499
    assert 'astec_shed_total{reason="client_left"} 1.0' in metrics
    assert "astec_batch_size_count 0.0" in metrics


async def test_an_error_of_our_own_gets_500_without_internals(serve) -> None:
    async with serve() as (app, client):
        app.state.service.threads.close()
        error = error_of(await client.post(INFER, json={"inputs": [query("a")]}), 500)
    assert error == "The server failed to answer; its log has the details."


async def test_requests_count_by_the_templates_of_their_paths(serve) -> None:
    async with serve(cache_entries=10) as (app, client):
        version = app.state.service.model_name["version"]
        for path in (INFER, f"/v2/models/demo/versions/{version}/infer"):
            assert (await client.post(path, json={"inputs": [query("a")]})).status_code == 200
        for name in ("a", "b", "c"):
            await client.get(f"/v2/models/{name}")
        metrics = (await client.get("/metrics")).text
    assert 'astec_requests_total{route="/v2/models/{name}/infer",status="200"} 1.0' in metrics
    assert 'astec_requests_total{route="/v2/models/{name}/versions/{version}/infer",status="200"} 1.0' in metrics
    assert 'astec_requests_total{route="/v2/models/{name}",status="404"} 3.0' in metrics
    assert "astec_cache_hits_total 1.0" in metrics


async def test_keys_and_limits_are_those_of_predict(opened_artifact, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ads:{KEY}\n")
    keys.chmod(0o600)
    settings = Settings(artifact=opened_artifact.path, api_keys_file=keys, rate_limit_qps=1 / 3600, rate_limit_burst=4)
    app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0), open_access_control(settings))
    shown, asked = {"Authorization": f"Bearer {KEY}"}, {"inputs": [query("a", "b")]}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
    ):
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/demo/ready"):
            assert (await client.get(path)).status_code == 200
        refused = await client.post(INFER, json=asked)
        error_of(await client.get("/v2/models/demo"), 401)
        assert (await client.get("/v2/models/demo", headers=shown)).status_code == 200
        assert (await client.post("/predict", json={"queries": ["a", "b"]}, headers=shown)).status_code == 200
        assert (await client.post(INFER, json=asked, headers=shown)).status_code == 200
        limited = await client.post(INFER, json=asked, headers=shown)
    error_of(refused, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "Slow down" in error_of(limited, 429)
    assert int(limited.headers["retry-after"]) > 0
