"""Signals of queries and their drift, as an operator sees them at /metrics."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from astec.export.artifact.store import Artifact
from astec.server.engine.batch_ranker import MEASURED_EVERY
from astec.server.metrics.drift import MIN_QUERIES
from tests.server.conftest import Serve

ALERT = 0.25  # of docker/alerts.yml
ENOUGH = 2 * MIN_QUERIES * MEASURED_EVERY
AT_ONCE = 100

# What nobody types into a shop: half of the words are those of the demo market.
OTHER_QUERIES = [
    f"{how} {verb} {food} {place}"
    for how, verb, food, place in product(
        ("how do i", "why does my", "is it safe to", "what happens when i"),
        ("freeze", "boil", "ferment", "thaw", "whisk"),
        ("buttermilk", "garlic", "risotto", "sourdough", "cheap red shoes"),
        ("overnight", "in the oven", "without yeast", "at home"),
    )
]


async def figures(client: httpx.AsyncClient) -> dict[tuple[str, str | None], float]:
    """The values at /metrics by name and signal, without those of buckets."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {
        (sample.name, sample.labels.get("signal")): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


async def drift(client: httpx.AsyncClient) -> dict[str | None, float]:
    return {signal: value for (name, signal), value in (await figures(client)).items() if name == "astec_drift_psi"}


async def ask(client: httpx.AsyncClient, queries: Sequence[object], count: int, **fields: object) -> None:
    """Send so many queries, the given ones again and again."""
    wanted = [queries[row % len(queries)] for row in range(count)]
    for begin in range(0, count, AT_ONCE):
        body = {"queries": wanted[begin : begin + AT_ONCE], **fields}
        assert (await client.post("/predict", json=body)).status_code == 200


@pytest.fixture(scope="module")
def own_queries(demo_data: Path) -> list[str]:
    with gzip.open(demo_data / "test.jsonl.gz", "rt") as lines:
        return [json.loads(line)["text"] for line in lines]


async def test_other_queries_raise_the_index_above_the_alert_and_own_test_queries_do_not(
    serve, own_queries: list[str]
) -> None:
    async with serve() as (app, client):
        assert set(app.state.service.artifact.signals) == {"unknown_words", "top_score", "entropy"}
        await ask(client, own_queries, MEASURED_EVERY)
        assert await drift(client) == {}
        await ask(client, own_queries, ENOUGH)
        own = await drift(client)
        assert set(own) == {"unknown_words", "top_score", "entropy"}
        assert max(own.values()) < ALERT, own
        await ask(client, OTHER_QUERIES, ENOUGH)
        other = await drift(client)
        assert other["unknown_words"] > ALERT
        assert other["top_score"] > ALERT, other


async def test_cached_answers_are_counted_as_computed_ones(serve, own_queries: list[str]) -> None:
    async with serve(cache_entries=1_000) as (_, client):
        for sent in (len(own_queries), 2 * len(own_queries)):
            await ask(client, own_queries, len(own_queries))
            found = await figures(client)
            assert found["astec_answer_top_score_count", None] == sent // MEASURED_EVERY
        assert found["astec_cache_hits_total", None] >= len(own_queries)
        await ask(client, own_queries, ENOUGH)
        own = await drift(client)
        assert own
        assert max(own.values()) < ALERT, own


async def test_a_model_without_histograms_shows_the_signals_alone(
    opened_artifact: Artifact, serving: Callable[[Artifact], Serve], own_queries: list[str]
) -> None:
    old = replace(opened_artifact, signals={})
    async with serving(old)() as (_, client):
        await ask(client, own_queries, ENOUGH)
        found = await figures(client)
    assert not [key for key in found if key[0].startswith("astec_drift")]
    measured = found["astec_answer_top_score_count", None]
    assert measured == pytest.approx(ENOUGH / MEASURED_EVERY, rel=0.05)
    assert 0 < found["astec_answer_top_score_sum", None] < measured
    assert 0 < found["astec_answer_entropy_count", None] <= measured


async def test_entropy_needs_five_labels_and_words_need_a_text(serve) -> None:
    async with serve(cache_entries=10) as (app, client):  # then each query is measured when its turn comes
        artifact = app.state.service.artifact
        await ask(client, [artifact.labels[0]], MEASURED_EVERY, top_k=4)
        await ask(client, [{"ids": [1, 2]}], MEASURED_EVERY)
        found = await figures(client)
    assert found["astec_answer_top_score_count", None] == 2
    assert found["astec_answer_entropy_count", None] == 1
    assert found["astec_query_unknown_words_ratio_count", None] == 1


async def test_queries_with_a_filter_are_not_measured(
    described_artifact: Artifact, serving: Callable[[Artifact], Serve]
) -> None:
    async with serving(described_artifact)(cache_entries=10) as (_, client):
        await ask(client, ["running shoes"], MEASURED_EVERY, filter={"country": ["DE"]})
        assert (await figures(client))["astec_answer_top_score_count", None] == 0
        await ask(client, ["running shoes"], MEASURED_EVERY)
        assert (await figures(client))["astec_answer_top_score_count", None] == 1
