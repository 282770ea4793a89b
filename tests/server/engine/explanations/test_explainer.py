"""Explanations of rankings: the parts of scores and the tokens behind them."""

import asyncio
from dataclasses import replace

import httpx
import numpy as np
import pytest

from astec.export.artifact.manifest import Scoring
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bag
from astec.server.engine.explanations.explainer import MAX_TOKENS
from astec.server.engine.predictor import Predictor
from astec.server.engine.service import MAX_EXPLAINING

QUERIES = ("running shoes", "cheap garden hose", "kitchen tap", "a")


async def ask(client: httpx.AsyncClient, **request: object) -> dict:
    answer = await client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("query", QUERIES)
async def test_the_parts_of_a_score_add_up_to_its_logit(serve, query: str) -> None:
    async with serve() as (_, client):
        answer = await ask(client, query=query, top_k=10, explain=True)
    labels = answer["explanation"]["labels"]
    assert len(labels) == len(answer["predictions"])
    for prediction, explained in zip(answer["predictions"], labels, strict=True):
        parts = explained["parts"]
        assert 1 / (1 + np.exp(-sum(parts.values()))) == pytest.approx(prediction["score"], abs=1e-5)
        assert {name for name, added in parts.items() if added} >= {"sparse", "bias"}


def test_the_parts_of_mixed_probabilities_add_up_to_the_score(opened_artifact: Artifact) -> None:
    scoring = Scoring(alpha=0.4, beta=0.0, gamma=0.3, delta=0.2, sparse_weights=1)
    manifest = opened_artifact.manifest.model_copy(update={"scoring": scoring})
    predictor = Predictor(replace(opened_artifact, manifest=manifest))
    (ranking,), _ = predictor.predict(["running shoes"], 5)
    explained = predictor.explainer.explain("running shoes", ranking.label_ids.tolist())
    sums = [sum(label.parts.model_dump().values()) for label in explained.labels]
    assert sums == pytest.approx(ranking.scores.tolist(), abs=1e-5)
    assert all(part >= 0 for label in explained.labels for part in label.parts.model_dump().values())


async def test_an_explained_answer_is_the_same_answer(serve) -> None:
    async with serve() as (_, client):
        for query in QUERIES:
            plain = await ask(client, query=query, min_score=0.1)
            explained = await ask(client, query=query, min_score=0.1, explain=True)
            assert set(explained) - set(plain) == {"explanation"}
            assert {name: explained[name] for name in plain} == plain


async def test_the_tokens_of_a_query_are_its_known_ones_the_heaviest_first(serve) -> None:
    async with serve() as (app, client):
        featurizer = app.state.service.artifact.featurizer
        query = app.state.service.artifact.labels[0]
        tokens = (await ask(client, query=query, explain=True))["explanation"]["tokens"]
        (bag,) = [featurizer.transform([query])]
    weights = [token["weight"] for token in tokens]
    assert weights == sorted(weights, reverse=True)
    assert len(tokens) == min(MAX_TOKENS, len(bag.ids))
    assert {token["token"] for token in tokens} <= set(featurizer.tokens(query))
    assert weights[0] == pytest.approx(float(bag.weights.max()))


def test_what_tokens_add_to_a_label_is_its_sparse_term(opened_artifact) -> None:
    predictor, sparse = Predictor(opened_artifact), opened_artifact.sparse
    assert sparse is not None
    query = opened_artifact.labels[0]
    (ranking,), _ = predictor.predict([query], 5)
    explained = predictor.explainer.explain(query, ranking.label_ids.tolist())
    bags = opened_artifact.featurizer.transform([query])
    assert len(bags.ids) <= MAX_TOKENS or len(explained.labels[0].tokens) == MAX_TOKENS
    weights = Shares.of(opened_artifact.manifest.scoring).weights()
    assert weights.as_logits
    for label_id, label in zip(ranking.label_ids.tolist(), explained.labels, strict=True):
        if len(label.tokens) == MAX_TOKENS:  # Some may have been left out.
            continue
        logit = sum(token.weight for token in label.tokens) + float(sparse.bias[label_id])
        assert label.parts.sparse == pytest.approx(weights.sparse * logit, abs=1e-5)


WRITTEN = {
    "Cheap RUNNING-shoes!": ["Cheap", "RUNNING", "shoes"],
    "running running shoes": ["running", "running", "shoes"],
    "Rúnning shóes qqqq 登山": ["Rúnning", "shóes", "qqqq", "登", "山"],
}


@pytest.mark.parametrize("query", WRITTEN)
async def test_the_words_of_a_query_have_what_their_tokens_have(serve, query: str) -> None:
    async with serve() as (app, client):
        answer = await ask(client, query=query, explain=True)
        featurizer, sparse = app.state.service.artifact.featurizer, app.state.service.artifact.sparse
    words = answer["explanation"]["words"]
    assert [word["text"] for word in words] == WRITTEN[query]
    assert [query[word["begin"] : word["end"]] for word in words] == WRITTEN[query]
    assert sum(word["weight"] for word in words) == pytest.approx(1, abs=1e-5)
    known = [len(featurizer.transform([text]).ids) > 0 for text in WRITTEN[query]]
    assert [word["weight"] > 0 for word in words] == known
    bags = featurizer.transform([query])
    labels = np.array([prediction["label_id"] for prediction in answer["predictions"]], np.int32)
    nothing = np.zeros(len(labels), np.float32)
    logits = sparse.logits(Candidates(labels, nothing, nothing, np.array([0, len(labels)])), bags) - sparse.bias[labels]
    sums = [sum(label["word_weights"]) for label in answer["explanation"]["labels"]]
    assert sums == pytest.approx(logits.tolist(), abs=1e-4)


async def test_the_word_that_a_label_is_found_by_weighs_most(serve) -> None:
    async with serve() as (_, client):
        answer = await ask(client, query="qqqq Running hose", explain=True, top_k=10)
    for prediction, label in zip(answer["predictions"], answer["explanation"]["labels"], strict=True):
        _, running, hose = label["word_weights"]
        if "running" in prediction["label"]:
            assert running > hose
        elif "hose" in prediction["label"]:
            assert hose > running


def test_a_bag_of_feature_ids_has_no_words(opened_artifact: Artifact) -> None:
    bags = opened_artifact.featurizer.transform(["running shoes"])
    predictor = Predictor(opened_artifact)
    explained = predictor.explainer.explain(Bag(bags.ids, bags.weights), [0])
    assert (explained.words, explained.labels[0].word_weights) == ([], [])
    assert explained.tokens == predictor.explainer.explain("running shoes", [0]).tokens


async def test_a_query_without_a_known_token_has_nothing_to_explain(serve) -> None:
    async with serve() as (_, client):
        answer = await ask(client, query="", explain=True)
    nothing: dict[str, list] = {"tokens": [], "words": [], "labels": [], "neighbours": []}
    assert (answer["predictions"], answer["explanation"]) == ([], nothing)


async def test_several_queries_are_not_explained_at_once(serve) -> None:
    async with serve() as (_, client):
        answer = await client.post("/predict", json={"queries": ["a", "b"], "explain": True})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": "explain", "message": 'Only one query is explained at a time; send it as "query"'}
    ]


async def test_explanations_are_bounded_and_the_others_go_on(serve) -> None:
    async with serve(inference_threads=1) as (app, client):
        await ask(
            client, query="running shoes"
        )  # Its time is known now, so the next query is computed on the event loop.
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        blocked = app.state.service.threads.run(
            lambda event: asyncio.run_coroutine_threadsafe(event.wait(), loop).result(), release
        )
        waiting = [asyncio.create_task(app.state.service.explain("a", [])) for _ in range(MAX_EXPLAINING)]
        await asyncio.sleep(0)
        refused = await client.post("/predict", json={"query": "running shoes", "explain": True})
        plain = await client.post("/predict", json={"query": "running shoes"})
        release.set()
        await blocked
        assert [len((await task).labels) for task in waiting] == [0] * MAX_EXPLAINING
        later = await client.post("/predict", json={"query": "running shoes", "explain": True})
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert (plain.status_code, later.status_code) == (200, 200)
