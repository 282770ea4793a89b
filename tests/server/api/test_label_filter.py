"""`filter` and `exclude` in a request: answers, errors, and queries without a filter that are not delayed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import product
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from astec.export.artifact.store import Artifact
from astec.server.api.label_filter import to_selection
from astec.server.engine.labels.label_masks import LabelMasks
from astec.trainer.demo.log import sample_queries

pytestmark = pytest.mark.slow  # each test opens a model and a server around it

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]
QUERIES = list(dict.fromkeys(sample_queries(60, seed=5)))[:20]


@pytest.fixture
def serve_described(described_artifact: Artifact, serving: Callable[[Artifact], Serve]) -> Serve:
    """Serves the described artifact in this process."""
    return partial(serving(described_artifact), request_timeout_ms=60_000)


async def ask(client: httpx.AsyncClient, **request: object) -> dict:
    answer = await client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(client: httpx.AsyncClient, **request: object) -> list[tuple[str, str]]:
    answer = await client.post("/predict", json={"query": "a", **request})
    assert answer.status_code == 422, answer.text
    return [(error["field"], error["message"]) for error in answer.json()["errors"]]


def ids(answer: dict) -> list[int]:
    return [prediction["label_id"] for prediction in answer["predictions"]]


def queued(metrics: str) -> float:
    return float(metrics.split("\nastec_queue_length ")[1].split()[0])


CONDITIONS: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
    ({"filter": {"country": "DE"}}, lambda label: label % 4 < 2),
    ({"filter": {"country": ["CH", "AT"]}}, lambda label: label % 4 in (1, 2)),
    ({"filter": {"country": "DE", "active": True}}, lambda label: label % 4 < 2 and label % 3 > 0),
    ({"exclude": {"advertiser": "acme"}}, lambda label: label % 5 > 0),
    ({"exclude": {"country": ["DE", "CH"]}}, lambda label: label % 4 == 3),
    (
        {"filter": {"active": False}, "exclude": {"advertiser": ["acme", "hooli"], "country": "CH"}},
        lambda label: label % 3 == 0 and label % 5 in (1, 2, 3) and label % 4 != 2,
    ),
    ({"filter": {"tier": [3, 77, 4000]}}, lambda label: label in (3, 77)),
    ({"filter": {"tier": 5}, "exclude": {"tier": 5}}, lambda label: False),
    ({"filter": {"country": "FR"}}, lambda label: False),
    ({"exclude": {"country": "FR"}}, lambda label: True),
]


async def test_an_answer_has_allowed_labels_only_and_as_many_as_were_asked_for(
    serve_described: Serve, described_artifact: Artifact
) -> None:
    async with serve_described() as (_, client):
        for (conditions, is_allowed), top_k in product(CONDITIONS, (1, 5, 30)):
            count = sum(map(is_allowed, range(len(described_artifact.labels))))
            answer = await ask(client, queries=QUERIES, top_k=top_k, **conditions)
            for result in answer["results"]:
                assert all(map(is_allowed, ids(result))), conditions
                assert len(set(ids(result))) == min(top_k, count), conditions
                scores = [prediction["score"] for prediction in result["predictions"]]
                assert scores == sorted(scores, reverse=True)


async def test_a_label_has_the_score_that_it_has_without_a_filter(serve_described: Serve) -> None:
    async with serve_described() as (_, client):
        shared = 0
        for query in QUERIES:
            plain = {entry["label_id"]: entry for entry in (await ask(client, query=query, top_k=8))["predictions"]}
            for entry in (await ask(client, query=query, top_k=8, filter={"country": "DE"}))["predictions"]:
                if entry["label_id"] in plain:
                    assert entry == plain[entry["label_id"]]
                    shared += 1
    assert shared > len(QUERIES)


async def test_the_smallest_score_is_left_to_the_client(serve_described: Serve) -> None:
    async with serve_described() as (_, client):
        whole = await ask(client, query=QUERIES[0], top_k=10, exclude={"country": "CH"})
        least = whole["predictions"][4]["score"]
        part = await ask(client, query=QUERIES[0], top_k=10, exclude={"country": "CH"}, min_score=least)
    assert part["predictions"] == whole["predictions"][:5]


async def test_no_condition_is_no_filter(serve_described: Serve) -> None:
    async with serve_described() as (_, client):
        plain = await ask(client, query=QUERIES[0], top_k=30)
        for nothing in (dict[str, object](), None):
            assert await ask(client, query=QUERIES[0], top_k=30, filter=nothing, exclude=nothing) == plain
    assert len(plain["predictions"]) == 8


async def test_a_query_without_a_known_token_gets_an_empty_list(serve_described: Serve) -> None:
    async with serve_described() as (_, client):
        assert (await ask(client, query="qqqq", filter={"country": "DE"}))["predictions"] == []


async def test_requests_that_come_together_get_what_each_gets_alone(serve_described: Serve) -> None:
    requests = [
        {"query": query, "top_k": 1 + position % 12, **CONDITIONS[position % len(CONDITIONS)][0]}
        for position, query in enumerate(QUERIES * 2)
    ]
    requests += [{"query": query} for query in QUERIES]
    async with serve_described() as (_, client):
        together = await asyncio.gather(*(ask(client, **request) for request in requests))
        alone = [await ask(client, **request) for request in requests]
    assert together == alone


async def test_the_lines_of_a_stream_have_filters_of_their_own(serve_described: Serve) -> None:
    lines: list[dict[str, Any]] = [
        {"query": QUERIES[0], "filter": {"country": "CH"}},
        {"query": QUERIES[0]},
        {"query": QUERIES[1], "filter": {"colour": "red"}},
        {"queries": QUERIES[:3], "exclude": {"active": True}},
    ]
    async with serve_described() as (_, client):
        content = b"\n".join(json.dumps(line).encode() for line in lines)
        answers = [
            json.loads(line) for line in (await client.post("/predict/stream", content=content)).text.splitlines()
        ]
        for position in (0, 1, 3):
            assert answers[position] == await ask(client, **lines[position])
    assert (answers[2]["line"], answers[2]["status"]) == (3, 422)
    assert answers[2]["errors"][0]["field"] == "filter.colour"


async def test_the_cache_knows_filters_apart_and_equal_ones_however_they_are_written(serve_described: Serve) -> None:
    query = QUERIES[0]
    async with serve_described(cache_entries=100) as (_, client):
        plain = await ask(client, query=query)
        filtered = await ask(client, query=query, filter={"country": ["DE", "CH"], "active": True})
        excluded = await ask(client, query=query, exclude={"country": ["DE", "CH"], "active": True})
        assert ids(plain) != ids(filtered) != ids(excluded) != ids(plain)
        written = {"filter": {"active": [True, True], "country": ["CH", "DE", "DE"]}}
        again = await client.post("/predict", json={"query": query, **written})
    assert again.headers["server-timing"] == "cache;desc=hit"
    assert again.json() == filtered


async def test_an_answer_with_a_filter_is_explained(serve_described: Serve) -> None:
    request = {"query": QUERIES[0], "top_k": 20, "exclude": {"country": "DE"}}
    async with serve_described() as (_, client):
        plain = await ask(client, **request)
        answer = await ask(client, **request, explain=True)
    assert answer["predictions"] == plain["predictions"]
    assert len(answer["explanation"]["labels"]) == 20
    for prediction, explained in zip(answer["predictions"], answer["explanation"]["labels"], strict=True):
        assert sum(explained["parts"].values()) == pytest.approx(prediction["score"], abs=1e-5)


@pytest.mark.parametrize("field", ["filter", "exclude"])
async def test_what_is_wrong_with_a_condition_is_said(serve_described: Serve, field: str) -> None:
    unknown = "There is no such column; the columns are country, advertiser, active, tier"
    one_value = "Give a string, a boolean, an integer, or a list of those"
    many = "List should have at most 100 items after validation, not 101"
    cases: list[tuple[object, str, str]] = [
        ({"colour": "red"}, "colour", unknown),
        ({"country": 5}, "country", "A value of this column is of type string, not integer"),
        ({"country": ["DE", True]}, "country", "A value of this column is of type string, not boolean"),
        ({"active": "true"}, "active", "A value of this column is of type boolean, not string"),
        ({"active": 1}, "active", "A value of this column is of type boolean, not integer"),
        ({"tier": True}, "tier", "A value of this column is of type integer, not boolean"),
        ({"tier": 2**63}, "tier", f"Input should be less than or equal to {2**63 - 1}"),
        ({"country": None}, "country", one_value),
        ({"country": 1.5}, "country", one_value),
        ({"country": {"is": "DE"}}, "country", one_value),
        ({"country": [["DE"]]}, "country.0", "A value is a string, a boolean or an integer"),
        ({"country": []}, "country", "List should have at least 1 item after validation, not 0"),
        ({"country": ["DE"] * 101}, "country", many),
        ({"country": "x" * 513}, "country", "String should have at most 512 characters"),
    ]
    async with serve_described() as (_, client):
        for conditions, name, message in cases:
            ((where, said),) = await refused(client, **{field: conditions})
            assert where == f"{field}.{name}"
            assert said.startswith(message), said
        ((where, said),) = await refused(client, **{field: {f"c{number}": 1 for number in range(33)}})
        assert (where, "at most 32 items" in said) == (field, True)
        ((where, _),) = await refused(client, **{field: ["country"]})
        assert where == field
        assert len(await refused(client, filter={"a": 1}, exclude={"b": 1})) == 2


async def test_a_model_without_metadata_says_so(serve: Serve) -> None:
    async with serve() as (_, client):
        found = await refused(client, filter={"country": "DE"})
    assert found == [("filter.country", "This model has no label metadata; export it with --label-metadata")]


async def test_the_model_and_the_schema_tell_what_can_be_asked(serve_described: Serve) -> None:
    async with serve_described() as (_, client):
        columns = (await client.get("/v1/model")).json()["label_metadata"]
        schema = (await client.get("/openapi.json")).json()["components"]["schemas"]["PredictRequest"]
    assert columns == [
        {"name": "country", "kind": "string", "values": 3},
        {"name": "advertiser", "kind": "string", "values": 5},
        {"name": "active", "kind": "boolean", "values": 2},
        {"name": "tier", "kind": "integer", "values": 150},
    ]
    for field in ("filter", "exclude"):
        assert schema["properties"][field]["description"]
    assert any("filter" in example and "exclude" in example for example in schema["examples"])


async def test_who_asks_without_a_filter_does_not_wait_for_those_with_one(
    serve_described: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    select = LabelMasks.mask_of

    def slowly(masks: LabelMasks, selection: Any) -> object:
        release.wait(30)
        return select(masks, selection)

    monkeypatch.setattr(LabelMasks, "mask_of", slowly)
    async with serve_described() as (_, client):
        slow = [asyncio.create_task(ask(client, query=query, filter={"country": "DE"})) for query in QUERIES]
        try:
            for query in QUERIES:
                assert len((await ask(client, query=query))["predictions"]) == 5
            metrics = (await client.get("/metrics")).text
            assert not any(task.done() for task in slow)
        finally:
            release.set()
        assert all(ids(answer) for answer in await asyncio.gather(*slow))
    # One batch of the twenty is being computed; the other queries wait in the queue.
    assert 0 < queued(metrics) < len(QUERIES)


async def test_a_full_queue_of_filtered_queries_refuses_more_of_them_only(
    serve_described: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slowly(masks: LabelMasks, selection: object) -> None:
        begun.set()
        release.wait(30)

    monkeypatch.setattr(LabelMasks, "mask_of", slowly)
    async with serve_described(queue_capacity=4) as (_, client):
        first = asyncio.create_task(ask(client, query=QUERIES[0], filter={"country": "DE"}))
        await asyncio.to_thread(begun.wait, 30)  # It has left the queue, and is being computed.
        slow = asyncio.create_task(ask(client, queries=QUERIES[:4], filter={"country": "DE"}))
        try:
            while queued((await client.get("/metrics")).text) < 4:
                pass
            full = await client.post("/predict", json={"query": "a", "filter": {"country": "DE"}})
            plain = await ask(client, queries=QUERIES[:4])
        finally:
            release.set()
        await asyncio.gather(first, slow)
    assert full.status_code == 429
    assert len(plain["results"]) == 4


def test_masks_are_remembered_up_to_a_number_of_bytes(
    described_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = described_artifact.label_metadata
    assert metadata is not None
    monkeypatch.setattr("astec.server.engine.labels.label_masks.MAX_MASK_BYTES", 2 * len(described_artifact.labels) + 1)
    masks = LabelMasks(metadata)
    selections = [to_selection(metadata, {"tier": tier}, None) for tier in range(3)]
    first, second = (masks.mask_of(selection) for selection in selections[:2])
    assert masks.mask_of(selections[0]) is first
    assert masks.mask_of(selections[2]) is not None
    assert masks.mask_of(selections[0]) is first
    again = masks.mask_of(selections[1])
    assert again is not second
    np.testing.assert_array_equal(again, second)
    assert masks.mask_of(None) is None
