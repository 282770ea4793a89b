"""Several models in one application: which of them answers, and that every answer says so."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.export.artifact.store import Artifact, open_artifact
from astec.server.app import AstecApi, create_app
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.models.traffic_split import TrafficSplit
from astec.server.metrics.board import MetricsBoard
from astec.server.metrics.exposition import render_exposition
from astec.server.settings import Settings
from tests.server.changed_artifact import change_artifact

QUERIES = [f"running shoes {number}" for number in range(40)]
Pair = Callable[..., AbstractAsyncContextManager[tuple[AstecApi, httpx.AsyncClient]]]


@pytest.fixture(scope="session")
def next_artifact(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The demo artifact with labels in capitals, so that a label shows which model it is of."""
    return open_artifact(change_artifact(demo_artifact, tmp_path_factory.mktemp("next") / "a", "next-1", bytes.upper))


@pytest.fixture
def pair(opened_artifact: Artifact, next_artifact: Artifact) -> Pair:
    """Serves the demo artifact as `current`, and the one with capitals as `next`."""

    @asynccontextmanager
    async def running(blocked: Path | None = None, **knobs: Any) -> AsyncIterator[tuple[AstecApi, httpx.AsyncClient]]:
        artifacts = [opened_artifact, next_artifact]
        named = [f"{name}={one.path}" for name, one in zip(("current", "next"), artifacts, strict=True)]
        settings = Settings(artifact=named, **knobs)
        block_lists = None if blocked is None else [BlockList(blocked, artifact) for artifact in artifacts]
        metrics = MetricsBoard(1, ("current", "next")).metrics(0)
        app = create_app(settings, artifacts, metrics, block_list=block_lists)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield app, client

    return running


async def ask(client: httpx.AsyncClient, body: object, **headers: str) -> dict[str, Any]:
    response = await client.post("/predict", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def is_capital(result: dict[str, Any]) -> bool:
    labels = [prediction["label"] for prediction in result["predictions"]]
    assert labels
    return all(label == label.upper() for label in labels)


def tensors(*queries: str) -> dict[str, Any]:
    return {"inputs": [{"name": "query", "datatype": "BYTES", "shape": [len(queries)], "data": list(queries)}]}


async def test_each_model_answers_by_its_name(pair: Pair, next_artifact: Artifact) -> None:
    async with pair() as (_, client):
        assert (await ask(client, {"query": "shoes"}))["model"]["name"] == "current"
        for name, capital in (("current", False), ("next", True)):
            for body in ({"query": "shoes"}, {"query": "shoes", "explain": True}):
                answer = await ask(client, body | {"model": name})
                assert answer["model"]["name"] == name
                assert is_capital(answer) == capital
            answer = await ask(client, {"queries": ["shoes", "hose"], "model": name})
            assert answer["model"]["name"] == name
            assert [is_capital(result) for result in answer["results"]] == [capital] * 2
            inferred = (await client.post(f"/v2/models/{name}/infer", json=tensors("shoes"))).json()
            assert inferred["model_name"] == name
            assert (inferred["outputs"][0]["data"][0].upper() == inferred["outputs"][0]["data"][0]) == capital
        version = next_artifact.manifest.model.version
        assert (await client.get(f"/v2/models/next/versions/{version}/ready")).json() == {"name": "next", "ready": True}
        assert (await client.get(f"/v2/models/current/versions/{version}/ready")).status_code == 404


async def test_a_model_that_is_not_served_is_refused_by_name(pair: Pair) -> None:
    async with pair() as (_, client):
        refused = await client.post("/predict", json={"query": "shoes", "model": "demo"})
        assert refused.status_code == 422
        assert refused.json()["errors"] == [
            {"field": "model", "message": "No model of this name is served here; there is: current, next"}
        ]
        for path in ("/v2/models/demo", "/v1/model?model=demo"):
            assert (await client.get(path)).status_code == 404


async def test_all_models_are_listed_and_described(pair: Pair, next_artifact: Artifact) -> None:
    async with pair(share=["next=5"]) as (app, client):
        first = app.state.service.model_name["version"]
        assert (await client.get("/v2/models")).json() == {
            "models": ["current", "next"],
            "served": [
                {"name": "current", "version": first, "share": 95, "shadow": False},
                {"name": "next", "version": "next-1", "share": 5, "shadow": False},
            ],
        }
        for path, name, version in (("", "current", first), ("?model=next", "next", "next-1")):
            described = (await client.get(f"/v1/model{path}")).json()
            assert (described["served_as"], described["model"]["version"]) == (name, version)
            assert described["examples"] == [text.upper() if name == "next" else text for text in described["examples"]]


async def test_a_server_of_one_model_lists_it_under_its_own_name(serve: Any) -> None:
    async with serve() as (app, client):
        name = app.state.service.model_name
        assert (await client.get("/v2/models")).json()["served"] == [{**name, "share": 100, "shadow": False}]
        assert (await ask(client, {"query": "shoes", "model": name["name"]}))["model"] == name
        assert "served_as" not in (await client.get("/v1/model")).json()


async def test_a_query_gets_the_same_model_alone_in_a_batch_and_in_a_stream(pair: Pair) -> None:
    split = TrafficSplit([50])
    expected = [bool(split.model_of(query, b"")) for query in QUERIES]
    assert len(set(expected)) == 2
    async with pair(share=["next=50"]) as (app, client):
        alone = [await ask(client, {"query": query}) for query in QUERIES]
        assert [answer["model"]["name"] == "next" for answer in alone] == expected
        assert [is_capital(answer) for answer in alone] == expected
        batch = await ask(client, {"queries": QUERIES})
        assert "model" not in batch
        assert [result.pop("model") for result in batch["results"]] == [answer["model"] for answer in alone]
        assert [result["predictions"] for result in batch["results"]] == [answer["predictions"] for answer in alone]
        lines = "\n".join([*map(json.dumps, QUERIES), json.dumps({"queries": QUERIES})])
        streamed = (await client.post("/predict/stream", content=lines)).text.splitlines()
        assert [json.loads(line) for line in streamed[:-1]] == alone
        assert json.loads(streamed[-1]) == await ask(client, {"queries": QUERIES})
        ours = [query for query, is_next in zip(QUERIES, expected, strict=True) if is_next]
        of_one = await ask(client, {"queries": ours})
        assert of_one["model"]["name"] == "next"
        assert not any("model" in result for result in of_one["results"])
        text = render_exposition(app.state.metrics).decode()
        asked = 5 * sum(expected) + len(ours)
        assert f'astec_queries_total{{model="next"}} {asked}.0' in text
        assert 'astec_model_info{name="next",version="next-1"} 1.0' in text


async def test_a_header_decides_for_all_queries_of_a_request(pair: Pair) -> None:
    split = TrafficSplit([50], b"x-user-id")
    async with pair(share=["next=50"], share_by="header:X-User-Id") as (_, client):
        for number in range(20):
            name = "next" if split.model_of("", b"user-%d" % number) else "current"
            headers = {"X-User-Id": f"user-{number}"}
            for body in ({"query": "shoes"}, {"queries": QUERIES}, {"query": "shoes", "top_k": 3, "min_score": 0.1}):
                assert (await ask(client, body, **headers))["model"]["name"] == name
            line = await client.post("/predict/stream", content='"shoes"', headers=headers)
            assert line.json()["model"]["name"] == name
            named = await ask(client, {"query": "shoes", "model": "current"}, **headers)
            assert named["model"]["name"] == "current"
        assert (await ask(client, {"query": "shoes"}))["model"]["name"] == "current"


async def test_a_page_in_a_browser_may_send_the_header(pair: Pair) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    asked |= {"Access-Control-Request-Headers": "x-user-id"}
    knobs = {"share": ["next=50"], "share_by": "header:X-User-Id", "cors_origin": ["https://a.example"]}
    async with pair(**knobs) as (_, client):
        assert (await client.options("/predict", headers=asked)).status_code == 200


async def test_invalid_queries_are_named_by_their_place_whichever_model_they_are_for(pair: Pair) -> None:
    async with pair(share=["next=50"], max_query_chars=30) as (_, client):
        refused = await client.post("/predict", json={"queries": [*QUERIES[:5], "x" * 31, QUERIES[6], "y" * 40]})
        assert [error["field"] for error in refused.json()["errors"]] == ["queries.5", "queries.7"]


async def test_blocked_labels_are_blocked_in_all_models(pair: Pair, tmp_path: Path) -> None:
    async with pair() as (_, client):
        names = ("current", "next")
        best = [(await ask(client, {"query": "shoes", "model": name}))["predictions"][0]["label"] for name in names]
    assert best[0].upper() == best[1] != best[0]
    blocked = tmp_path / "blocked"
    blocked.write_text("\n".join([*best, ""]))
    async with pair(blocked) as (app, client):
        for name, label in zip(names, best, strict=True):
            found = (await ask(client, {"query": "shoes", "model": name}))["predictions"]
            assert label not in [one["label"] for one in found]
        text = render_exposition(app.state.metrics).decode()
        for name in names:
            assert f'astec_blocked_labels{{model="{name}"}} 1.0' in text
            assert f'astec_answers_without_blocked_total{{model="{name}"}} 1.0' in text


async def test_each_model_has_a_cache_of_its_own(pair: Pair) -> None:
    async with pair(share=["next=50"], cache_entries=100) as (app, client):
        first = await ask(client, {"queries": QUERIES})
        assert await ask(client, {"queries": QUERIES}) == first
        for name, capital in (("current", False), ("next", True)):
            answer = await ask(client, {"queries": QUERIES, "model": name})
            assert [is_capital(result) for result in answer["results"]] == [capital] * len(QUERIES)
        text = render_exposition(app.state.metrics).decode()
        entries = [f'astec_cache_entries{{model="{name}"}} {len(QUERIES)}.0' in text for name in ("current", "next")]
        assert all(entries)


async def test_a_request_is_refused_as_a_whole_where_one_of_its_models_has_no_room(pair: Pair) -> None:
    knobs = {"queue_capacity": len(QUERIES), "inference_threads": 1, "inline_batch_us": 0, "max_batch_size": 1}
    async with pair(share=["next=50"], request_timeout_ms=60_000, **knobs) as (app, client):
        release = threading.Event()
        app.state.models.services[1].threads.run(release.wait, None)
        try:
            filling = asyncio.create_task(ask(client, {"queries": QUERIES, "model": "next"}))
            while 'astec_queue_length{model="next"} 39.0' not in render_exposition(app.state.metrics).decode():
                await asyncio.sleep(0.001)
            refused = await client.post("/predict", json={"queries": QUERIES})
            of_current = await ask(client, {"queries": QUERIES, "model": "current"})
        finally:
            release.set()
        assert refused.status_code == 429
        assert of_current["model"]["name"] == "current"
        assert (await filling)["model"]["name"] == "next"
        assert len((await ask(client, {"queries": QUERIES}))["results"]) == len(QUERIES)
        is_next = [TrafficSplit([50]).model_of(query, b"") for query in QUERIES]
        text = render_exposition(app.state.metrics).decode()
        assert f'astec_shed_total{{model="next",reason="queue_full"}} {sum(is_next)}.0' in text
