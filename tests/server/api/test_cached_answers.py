"""The result cache, as clients and operators see it."""

import re

import httpx


async def ask(client: httpx.AsyncClient, **body: object) -> tuple[dict, str]:
    response = await client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json(), response.headers["server-timing"]


def counts(metrics: str) -> tuple[float, float, float]:
    found = dict(re.findall(r"^astec_cache_(\w+) (\S+)$", metrics, re.MULTILINE))
    return float(found["hits_total"]), float(found["misses_total"]), float(found["entries"])


async def test_a_cached_answer_is_the_computed_one(serve, demo_queries: list[str]) -> None:
    queries = list(dict.fromkeys(demo_queries))
    async with serve() as (_, client):
        computed = [(await ask(client, query=query))[0] for query in queries]
    async with serve(cache_entries=1000) as (_, client):
        first = [await ask(client, query=query, min_score=0.0) for query in queries]
        again = [await ask(client, query=query) for query in queries]
    assert [answer for answer, _ in first] == computed
    assert [answer for answer, _ in again] == computed
    assert {timing for _, timing in again} == {"cache;desc=hit"}


async def test_the_key_is_what_the_model_sees_of_a_query_and_what_is_asked_for(serve) -> None:
    async with serve(cache_entries=1000) as (app, client):
        query = app.state.service.artifact.labels[0]
        await ask(client, query=query)
        for same in (query.upper(), f"  {query}! ", query.replace(" ", "\t-\n")):
            assert (await ask(client, query=same))[1] == "cache;desc=hit"
        for different in ({"query": f"{query} x"}, {"query": query, "top_k": 4}, {"query": query, "min_score": 0.01}):
            assert (await ask(client, **different))[1].startswith("queue;dur=")
        metrics = (await client.get("/metrics")).text
    assert counts(metrics) == (3, 4, 4)


async def test_of_several_queries_only_the_unknown_are_computed(serve) -> None:
    async with serve(cache_entries=1000) as (app, client):
        known, unknown = app.state.service.artifact.labels[0], app.state.service.artifact.labels[1]
        (single, _) = await ask(client, query=known)
        several, timing = await ask(client, queries=[unknown, known, ""])
        other, _ = await ask(client, query=unknown)
        metrics = (await client.get("/metrics")).text
    assert timing.startswith("queue;dur=")
    assert [result["predictions"] for result in several["results"]] == [other["predictions"], single["predictions"], []]
    assert counts(metrics) == (2, 3, 3)
    assert "astec_queue_seconds_count 3.0" in metrics
    assert "astec_queries_total 5.0" in metrics


async def test_queries_by_feature_id_are_known_again_too(serve) -> None:
    async with serve(cache_entries=1000) as (_, client):
        computed, _ = await ask(client, query={"ids": [1, 2], "weights": [0.5, 1.0]})
        cached, timing = await ask(client, query={"ids": [1, 2], "weights": [0.5, 1.0]})
        _, other = await ask(client, query={"ids": [1, 2], "weights": [1.0, 0.5]})
    assert (cached, timing) == (computed, "cache;desc=hit")
    assert other.startswith("queue;dur=")


async def test_without_entries_nothing_is_remembered(serve) -> None:
    async with serve() as (_, client):
        await ask(client, query="a")
        _, timing = await ask(client, query="a")
        metrics = (await client.get("/metrics")).text
    assert timing.startswith("queue;dur=")
    assert counts(metrics) == (0, 0, 0)
