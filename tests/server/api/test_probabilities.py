"""Probabilities beside the scores, for requests with `"probabilities": true`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
import pytest

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.store import Artifact
from astec.export.readers import open_dataset
from astec.server.app import create_app
from astec.server.engine.rank_request import RankRequest
from astec.server.metrics.board import MetricsBoard
from astec.server.offline.evaluate import measure
from astec.server.settings import Settings

QUERIES = ("cheap running shoes", "garden hose", "kitchen tap", "qqqq zzzz")


async def ask(client: httpx.AsyncClient, **request: object) -> dict[str, Any]:
    answer = await client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def without(predictions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the predictions without their probabilities; fails if one has none."""
    rest = [dict(one) for one in predictions]
    for one in rest:
        del one["probability"]
    return rest


@pytest.fixture
def uncalibrated(opened_artifact: Artifact) -> Artifact:
    """The demo artifact as it was written before there were probabilities."""
    manifest = opened_artifact.manifest.model_copy(update={"calibration": None})
    return dataclasses.replace(opened_artifact, manifest=manifest)


async def test_they_are_those_of_the_scores_and_change_nothing_else(serve, opened_artifact: Artifact) -> None:
    assert opened_artifact.manifest.calibration is not None
    calibrator = Calibrator.of(opened_artifact.manifest.calibration)
    found = []
    async with serve() as (_, client):
        for query in QUERIES:
            plain = await ask(client, query=query, top_k=20, min_score=0.05)
            answer = await ask(client, query=query, top_k=20, min_score=0.05, probabilities=True)
            scores = np.array([one["score"] for one in answer["predictions"]], np.float32)
            said = [one["probability"] for one in answer["predictions"]]
            assert said == pytest.approx(calibrator.probabilities(scores))
            assert said == sorted(said, reverse=True)
            assert without(answer["predictions"]) == plain["predictions"]
            found += said
    assert len(set(found)) > 2
    assert 0 <= min(found) <= max(found) <= 1


async def test_nobody_gets_them_who_did_not_ask(serve) -> None:
    async with serve() as (_, client):
        plain = await ask(client, query=QUERIES[0])
        refused = await ask(client, query=QUERIES[0], probabilities=False)
    assert plain == refused
    assert all(set(one) == {"label_id", "label", "score"} for one in plain["predictions"])


async def test_in_a_batch_each_gets_what_it_asked_for(serve) -> None:
    async with serve() as (app, _):
        service = app.state.service
        asks = [
            RankRequest(query, 7, 0.0, probabilities) for query in QUERIES for probabilities in (True, False, False)
        ]
        together = [result.json for result in (await service.rank(asks, None)).results]
        alone = [(await service.rank([one], None)).results[0].json for one in asks]
    assert together == alone
    assert [b"probability" in predictions for predictions in together[:9]] == [True, False, False] * 3


async def test_several_queries_and_streams_have_them_too(serve) -> None:
    async with serve() as (_, client):
        single = [await ask(client, query=query, probabilities=True) for query in QUERIES]
        plain = await ask(client, query=QUERIES[0])
        several = await ask(client, queries=QUERIES, probabilities=True)
        lines = [json.dumps({"query": query, "probabilities": True}) for query in QUERIES] + [json.dumps(QUERIES[0])]
        stream = await client.post("/predict/stream", content="\n".join(lines))
    assert [result["predictions"] for result in several["results"]] == [answer["predictions"] for answer in single]
    assert [json.loads(line) for line in stream.text.splitlines()] == [*single, plain]


async def test_they_go_with_an_explanation(serve) -> None:
    async with serve() as (_, client):
        answer = await ask(client, query=QUERIES[0], probabilities=True, explain=True)
        explained = await ask(client, query=QUERIES[0], explain=True)
    assert answer["explanation"] == explained["explanation"]
    assert without(answer["predictions"]) == explained["predictions"]


async def test_the_cache_tells_the_two_apart(serve) -> None:
    async with serve(cache_entries=100) as (_, client):
        first = [await ask(client, query=QUERIES[0], probabilities=asked) for asked in (False, True)]
        again = [await ask(client, query=QUERIES[0], probabilities=asked) for asked in (False, True)]
        timing = (await client.post("/predict", json={"query": QUERIES[0], "probabilities": True})).headers
    assert first == again
    assert first[0] != first[1]
    assert timing["server-timing"] == "cache;desc=hit"


async def test_a_model_that_does_not_know_them_says_so(uncalibrated: Artifact) -> None:
    app = create_app(Settings(artifact=uncalibrated.path), uncalibrated, MetricsBoard(1).metrics(0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        assert (await client.get("/v1/model")).json()["calibration"] is None
        assert len((await ask(client, query=QUERIES[0], probabilities=False))["predictions"]) == 5
        for request in ({"query": QUERIES[0]}, {"queries": QUERIES}):
            answer = await client.post("/predict", json={**request, "probabilities": True})
            assert answer.status_code == 422
            (error,) = answer.json()["errors"]
            assert error["field"] == "probabilities"
            assert "export the model again with astec-export, from a run with held-out texts" in error["message"]
            assert QUERIES[0] not in answer.text


@pytest.mark.parametrize("value", ["yes", 1, None])
async def test_only_true_and_false_are_taken(serve, value: object) -> None:
    async with serve() as (_, client):
        answer = await client.post("/predict", json={"query": QUERIES[0], "probabilities": value})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["probabilities"]


def test_they_are_measured_on_a_test_file(opened_artifact: Artifact, uncalibrated: Artifact, demo_data) -> None:
    """On unseen texts, probabilities are no worse calibrated than scores, which mixed logits are nearly themselves."""
    figures, plain = (
        measure(artifact, open_dataset(demo_data, "test"), (0.55, 1.5), skip_bad_lines=False)
        for artifact in (opened_artifact, uncalibrated)
    )
    assert figures["ECE of probabilities"] < 5
    assert figures["ECE of probabilities"] < figures["ECE of scores"] + 1
    assert figures["Brier of probabilities"] < figures["Brier of scores"] + 0.1
    assert figures["P@1"] == plain["P@1"]
    assert not [name for name in plain if "ECE" in name or "Brier" in name]
