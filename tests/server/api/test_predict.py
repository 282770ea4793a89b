"""The answers of `/predict` to valid requests."""

import asyncio
import re

import pytest

EMOJI = "\N{ROCKET}\N{SPARKLES}"


async def known_query(app) -> str:
    return app.state.service.artifact.labels[0]


async def test_a_query_gets_labels_best_first(serve) -> None:
    async with serve() as (app, client):
        response = await client.post("/predict", json={"query": await known_query(app)})
    body = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"model", "predictions"}
    assert set(body["model"]) == {"name", "version"}
    assert 1 <= len(body["predictions"]) <= 5
    scores = [prediction["score"] for prediction in body["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_label_ids_and_texts_agree_with_the_artifact(serve) -> None:
    async with serve() as (app, client):
        response = await client.post("/predict", json={"query": await known_query(app), "top_k": 100})
        labels = app.state.service.artifact.labels
        for prediction in response.json()["predictions"]:
            assert prediction["label"] == labels[prediction["label_id"]]


@pytest.mark.parametrize("top_k", [1, 3, 100])
async def test_top_k_cuts_the_same_ranking(serve, top_k: int) -> None:
    async with serve() as (app, client):
        query = await known_query(app)
        longest = (await client.post("/predict", json={"query": query, "top_k": 100})).json()["predictions"]
        cut = (await client.post("/predict", json={"query": query, "top_k": top_k})).json()["predictions"]
    assert [prediction["label_id"] for prediction in cut] == [prediction["label_id"] for prediction in longest[:top_k]]


async def test_min_score_leaves_out_what_scores_less(serve) -> None:
    async with serve() as (app, client):
        query = await known_query(app)
        everything = (await client.post("/predict", json={"query": query, "top_k": 100})).json()["predictions"]
        bound = everything[len(everything) // 2]["score"]
        request = {"query": query, "top_k": 100, "min_score": bound}
        kept = (await client.post("/predict", json=request)).json()["predictions"]
    assert kept
    assert all(prediction["score"] >= bound for prediction in kept)
    assert len(kept) == sum(prediction["score"] >= bound for prediction in everything)


@pytest.mark.parametrize("query", [EMOJI, "", "   ", "\u200b"])
async def test_a_query_without_a_known_token_gets_an_empty_list(serve, query: str) -> None:
    async with serve() as (_, client):
        response = await client.post("/predict", json={"query": query})
        metrics = (await client.get("/metrics")).text
    assert response.status_code == 200
    assert response.json()["predictions"] == []
    assert "astec_empty_answers_total 1.0" in metrics


async def test_a_batch_answers_as_its_queries_do_one_by_one(serve) -> None:
    async with serve(max_batch_size=3) as (app, client):
        labels = app.state.service.artifact.labels
        queries = [labels[label_id] for label_id in range(6)] + [EMOJI, labels[0]]
        batch = await client.post("/predict", json={"queries": queries, "top_k": 7})
        singles = [await client.post("/predict", json={"query": query, "top_k": 7}) for query in queries]
    assert batch.status_code == 200
    assert set(batch.json()) == {"model", "results"}
    for result, single in zip(batch.json()["results"], singles, strict=True):
        alone = single.json()["predictions"]
        assert [p["label_id"] for p in result["predictions"]] == [p["label_id"] for p in alone]
        assert [p["score"] for p in result["predictions"]] == pytest.approx([p["score"] for p in alone], abs=1e-5)


async def test_concurrent_requests_with_different_top_k_each_get_their_own(serve) -> None:
    async with serve(inference_threads=1) as (app, client):
        query = await known_query(app)
        wanted = [1, 2, 3, 4, 2, 1]
        responses = await asyncio.gather(
            *(client.post("/predict", json={"query": query, "top_k": top_k}) for top_k in wanted)
        )
        available = len((await client.post("/predict", json={"query": query, "top_k": 100})).json()["predictions"])
    assert [len(r.json()["predictions"]) for r in responses] == [min(top_k, available) for top_k in wanted]


async def test_the_response_says_where_its_time_went(serve) -> None:
    async with serve() as (app, client):
        response = await client.post("/predict", json={"queries": [await known_query(app)] * 3})
    stage = r"{};dur=\d+\.\d{{3}}"
    stages = ("queue", "featurize", "encode", "shortlist", "score")
    assert re.fullmatch(", ".join(stage.format(name) for name in stages), response.headers["server-timing"])
