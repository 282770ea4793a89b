"""What a record holds."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import numpy as np
import pytest

from astec.export.artifact.text.bags import Bag, Query
from astec.server.answer_log.record_encoder import Answered, Model, RecordEncoder
from astec.server.engine.rank_request import NO_LABELS, RankedLabels, RankRequest, RankResult
from astec.server.settings import LoggedQueries
from tests.server.answer_log.conftest import CALIBRATOR

KEY = b"0123456789abcdef"
JSON = b'[{"label_id":2,"label":"running \\"shoes\\"","score":0.8},{"label_id":7,"label":"\xc3\xbc","score":0.25}]'
PLAIN = RankResult(JSON, NO_LABELS, None)
NOTHING = RankResult(b"[]", NO_LABELS, None)
ARRAYS = RankResult(b"", RankedLabels(np.array([5]), ["hose"], np.array([np.nan], np.float32)), None)


def ask(query: Query) -> RankRequest:
    return RankRequest(query, 5, 0.0, False)


def encode(*answered: Answered, calibrated: bool = True, queries: LoggedQueries = "full") -> list[dict[str, Any]]:
    model = Model("m", "v1", CALIBRATOR if calibrated else None)
    lines, count = RecordEncoder([model], 3, queries, KEY).encode(answered)
    records = [json.loads(line) for line in lines.splitlines()]
    assert len(records) == count
    return records


def test_a_record_has_what_was_asked_and_shown() -> None:
    (record,) = encode(Answered(1_790_000_000.25, b"id-1", [ask("red shoes")], [PLAIN]))
    assert record == {
        "time": "2026-09-21T14:13:20.250000Z",
        "request_id": "id-1",
        "position": 0,
        "query": "red shoes",
        "shown": ['running "shoes"', "ü"],
        "scores": [0.8, 0.25],
        "probabilities": [0.4, 0.125],
        "model": "m",
        "version": "v1",
        "worker": 3,
    }


def test_each_query_of_a_request_has_a_record_and_keeps_its_own_probabilities() -> None:
    records = encode(
        Answered(0.0, b"a", [ask("one"), ask("two"), ask("three")], [PLAIN, NOTHING, ARRAYS]),
        Answered(0.0, b"b", [ask("four")], [PLAIN]),
    )
    assert [(record["request_id"], record["position"], record["query"]) for record in records] == [
        ("a", 0, "one"),
        ("a", 1, "two"),
        ("a", 2, "three"),
        ("b", 0, "four"),
    ]
    assert [record["shown"] for record in records[1:3]] == [[], ["hose"]]
    # A score that is no number is sent as 0, by every endpoint.
    assert [record["scores"] for record in records[1:3]] == [[], [0.0]]
    assert [record["probabilities"] for record in records] == [[0.4, 0.125], [], [0.0], [0.4, 0.125]]


def test_a_model_without_calibration_has_records_without_probabilities() -> None:
    assert "probabilities" not in encode(Answered(0.0, b"a", [ask("one")], [PLAIN]), calibrated=False)[0]


def test_hashes_of_queries_can_be_computed_with_the_key_alone() -> None:
    one, same, other = encode(
        Answered(0.0, b"a", [ask("red shoes"), ask("red shoes"), ask("Red shoes")], [PLAIN] * 3), queries="hashed"
    )
    assert one["query_hash"] == hmac.new(KEY, b"red shoes", "sha256").hexdigest()
    assert one["query_hash"] != hashlib.sha256(b"red shoes").hexdigest()
    assert one["query_hash"] == same["query_hash"] != other["query_hash"]
    assert "query" not in one


@pytest.mark.parametrize("queries", ["full", "hashed", "none"])
def test_features_are_never_in_the_place_of_a_text(queries: LoggedQueries) -> None:
    bag = Bag(np.array([3, 17], np.int32), np.array([0.5, 0.1], np.float32))
    (record,) = encode(Answered(0.0, b"a", [ask(bag)], [PLAIN]), queries=queries)
    assert "query" not in record
    assert record.get("features") == ({"ids": [3, 17], "weights": [0.5, 0.1]} if queries == "full" else None)
    assert ("query_hash" in record) == (queries == "hashed")


def test_without_queries_nothing_of_them_is_left() -> None:
    (record,) = encode(Answered(0.0, b"a", [ask("xyzzyplugh")], [PLAIN]), queries="none")
    assert not {"query", "query_hash", "features"} & set(record)
