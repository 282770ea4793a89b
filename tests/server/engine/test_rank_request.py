"""The forms of a result: JSON, arrays, or both."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from astec.server.engine.rank_request import NO_LABELS, Output, RankRequest

QUERIES = ("cheap running shoes", "garden hose", "qqqq zzzz")


@pytest.mark.parametrize("cache_entries", [0, 100])
@pytest.mark.parametrize(("top_k", "min_score"), [(100, 0.0), (3, 0.0), (100, 0.2), (1, 1.0)])
async def test_arrays_have_the_labels_that_the_json_has(
    serve, top_k: int, min_score: float, cache_entries: int
) -> None:
    requests = [
        RankRequest(query, top_k, min_score, probabilities=False, output=output)
        for query in QUERIES
        for output in get_args(Output)
    ]
    async with serve(cache_entries=cache_entries) as (app, _):
        for _ in range(2):  # The second time from the cache, if there is one.
            results = (await app.state.service.rank(requests, None)).results
            for as_json, as_arrays, both in zip(*(results[form::3] for form in range(3)), strict=True):
                assert as_json.labels == NO_LABELS
                assert as_arrays.json == b""
                assert both.json == as_json.json
                expected = json.loads(as_json.json)
                for labels in (as_arrays.labels, both.labels):
                    assert labels.label_ids.tolist() == [label["label_id"] for label in expected]
                    assert labels.texts == [label["label"] for label in expected]
                    assert labels.scores.dtype == np.float32
                    assert labels.scores == pytest.approx([label["score"] for label in expected], abs=1e-17)
                assert as_json.is_empty() == as_arrays.is_empty() == both.is_empty() == (expected == [])


async def test_each_form_of_an_answer_is_cached(serve) -> None:
    async with serve(cache_entries=100) as (_, client):
        timings = []
        for request in ({}, {"explain": True}) * 2:
            response = await client.post("/predict", json={"query": QUERIES[0], **request})
            assert response.status_code == 200
            timings.append(response.headers["server-timing"])
        infer = {"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": [QUERIES[0]]}]}
        tensors = [await client.post("/v2/models/demo/infer", json=infer) for _ in range(2)]
    assert [timing == "cache;desc=hit" for timing in timings] == [False, False, True, True]
    assert tensors[0].json() == tensors[1].json()
    assert tensors[1].headers["server-timing"] == "cache;desc=hit"
