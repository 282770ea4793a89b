"""Blocked labels, on every route that names labels."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.export.artifact.store import Artifact, open_artifact
from astec.server.app import create_app
from astec.server.engine.labels.block_list import BlockList
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

PATIENCE_S = 30.0
Blocking = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blocked"
    path.write_text("\n")
    return path


@pytest.fixture
def blocking(file: Path) -> Blocking:
    """Serves an artifact in this process, with the labels in `file` blocked."""

    @asynccontextmanager
    async def running(artifact: Artifact, **knobs: Any) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings(artifact=artifact.path, blocked_labels=file, **knobs)
        metrics = MetricsBoard(1).metrics(0)
        app = create_app(settings, artifact, metrics, block_list=BlockList(file, artifact))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield client

    return running


async def best(client: httpx.AsyncClient, query: str, **body: object) -> list[str]:
    response = await client.post("/predict", json={"query": query, **body})
    assert response.status_code == 200, response.text
    return [prediction["label"] for prediction in response.json()["predictions"]]


async def long_answer(client: httpx.AsyncClient, artifact: Artifact, top_k: int) -> tuple[str, list[str]]:
    """Return a query with as many labels, and these."""
    for query in artifact.labels:
        found = await best(client, query, top_k=top_k)
        if len(found) == top_k:
            return query, found
    raise AssertionError(f"no query has {top_k} labels")


async def named_by_neighbours(client: httpx.AsyncClient, query: str) -> set[str]:
    """Return the labels that the neighbours in the explanation of an answer carry."""
    explained = (await client.post("/predict", json={"query": query, "explain": True})).json()["explanation"]
    return {label for neighbour in explained["neighbours"] for label in neighbour["labels"]}


async def figure(client: httpx.AsyncClient, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", (await client.get("/metrics")).text, re.MULTILINE)
    assert found is not None
    return float(found[1])


async def in_force(client: httpx.AsyncClient, blocked: int) -> None:
    """Wait until so many labels are blocked."""
    async with asyncio.timeout(PATIENCE_S):
        while await figure(client, "astec_blocked_labels") != blocked:
            await asyncio.sleep(0.05)


async def test_no_route_names_a_blocked_label(blocking: Blocking, file: Path, quoting_artifact: Path) -> None:
    artifact = open_artifact(quoting_artifact)
    async with blocking(artifact) as client:
        query, plain = await long_answer(client, artifact, 10)
        assert await named_by_neighbours(client, query) & set(plain[:5])
        file.write_text("\n".join(plain[:5]) + "\n")
        await in_force(client, 5)
        blocked = set(plain[:5])
        assert await best(client, query, top_k=5) == plain[5:]
        stream = await client.post("/predict/stream", content=json.dumps({"queries": [query], "top_k": 5}))
        assert stream.json()["results"][0]["predictions"][0]["label"] == plain[5]
        asked = {
            "inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": [query]}],
        }
        tensors = await client.post("/v2/models/demo/infer", json=asked)
        assert tensors.status_code == 200, tensors.text
        labels = next(output["data"] for output in tensors.json()["outputs"] if output["name"] == "labels")
        assert labels == plain[5:]
        assert not await named_by_neighbours(client, query) & blocked


async def test_the_model_gives_no_blocked_label_as_an_example(
    blocking: Blocking, file: Path, opened_artifact: Artifact
) -> None:
    async with blocking(opened_artifact) as client:
        before = (await client.get("/v1/model")).json()["examples"]
        file.write_text("\n".join(before))
        await in_force(client, len(before))
        after = (await client.get("/v1/model")).json()["examples"]
    assert len(after) == len(before) > 0
    assert not set(after) & set(before)


async def test_a_cached_answer_names_no_blocked_label_and_comes_back_with_it(
    blocking: Blocking, file: Path, opened_artifact: Artifact
) -> None:
    async with blocking(opened_artifact, cache_entries=100) as client:
        query, plain = await long_answer(client, opened_artifact, 5)
        assert await best(client, query) == plain
        file.write_text(f"{plain[0]}\n")
        await in_force(client, 1)
        for _ in range(2):
            found = await best(client, query)
            assert len(found) == 5
            assert plain[0] not in found
        assert await figure(client, "astec_answers_without_blocked_total") == 2
        file.write_text("\n")
        await in_force(client, 0)
        assert await best(client, query) == plain


async def test_a_filter_and_the_list_narrow_together(
    blocking: Blocking, file: Path, described_artifact: Artifact
) -> None:
    query = described_artifact.labels[0]
    async with blocking(described_artifact) as client:
        plain = await best(client, query, top_k=100, filter={"active": True})
        file.write_text("\n".join(plain[:4]))
        await in_force(client, 4)
        narrowed = await best(client, query, top_k=100, filter={"active": True})
        assert sorted(narrowed) == sorted(plain[4:])
        few = await best(client, query, filter={"active": True})
        assert len(few) == 5
        assert set(few) < set(plain[4:])


async def test_answers_that_would_name_a_blocked_label_are_counted(
    blocking: Blocking, file: Path, opened_artifact: Artifact
) -> None:
    async with blocking(opened_artifact) as client:
        query, plain = await long_answer(client, opened_artifact, 5)
        file.write_text(f"{plain[3]}\n")
        await in_force(client, 1)
        await best(client, query, top_k=3)
        assert await figure(client, "astec_answers_without_blocked_total") == 0
        await best(client, query, top_k=4)
        await best(client, query, top_k=5)
        assert await figure(client, "astec_answers_without_blocked_total") == 2


async def test_an_answer_is_empty_where_all_labels_are_blocked(
    blocking: Blocking, file: Path, opened_artifact: Artifact
) -> None:
    file.write_text("\n".join(opened_artifact.labels))
    async with blocking(opened_artifact) as client:
        assert await figure(client, "astec_blocked_labels") == len(opened_artifact.labels)
        assert await best(client, opened_artifact.labels[0], top_k=100) == []
        assert (await client.get("/v1/model")).json()["examples"] == []


async def test_a_list_that_blocks_none_changes_no_byte(
    blocking: Blocking, opened_artifact: Artifact, serve: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    body = {"queries": list(opened_artifact.labels)[:20], "top_k": 20}
    async with serve() as (_, client):
        plain = (await client.post("/predict", json=body)).content
    async with blocking(opened_artifact) as client:
        assert (await client.post("/predict", json=body)).content == plain
