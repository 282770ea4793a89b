"""Answers of shards, merged, against those of the same model in one artifact, with exact search."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.manifest import Calibration, Logistic
from astec.export.artifact.scoring.shares import Shares
from astec.export.calibration.fit import CalibrationFit
from astec.export.calibration.reliability import Reliability
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.server.client.queries import Asked, PredictOptions
from astec.trainer.demo.log import sample_queries
from tests.server.conftest import attributes

QUERIES = [*sample_queries(60, seed=3), "", "qqqq zzzz"]


def rankings(answer: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [result["predictions"] for result in answer.get("results", [answer])]


def require_equal(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Labels, their order and their texts must be the same; scores are rounded to float32 in different places."""
    for whole, merged in pairs:
        for expected, found in zip(rankings(whole), rankings(merged), strict=True):
            assert [(one["label_id"], one["label"]) for one in found] == [
                (one["label_id"], one["label"]) for one in expected
            ]
            for name in ("score", "probability"):
                assert [one.get(name) for one in found] == pytest.approx([one.get(name) for one in expected], abs=2e-6)


def weighted(checkpoint: Checkpoint) -> Checkpoint:
    sets = checkpoint.point_labels
    weights = np.random.default_rng(5).uniform(0.2, 3, len(sets.indices)).astype(np.float32)
    return replace(checkpoint, point_labels=LabelSets(sets.indptr, sets.indices, weights))


def of_logits(checkpoint: Checkpoint) -> Checkpoint:
    shares = replace(checkpoint.shares, logistic=Logistic(slope=3.0, bias=-1.0))
    return replace(checkpoint, shares=shares)


def mostly_votes(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, shares=Shares(alpha=0.5, delta=1.0))


@pytest.mark.parametrize("kind", ["points", "centroids", "union"])
@pytest.mark.parametrize("max_candidates", [None, 12])
@pytest.mark.parametrize("change", [None, weighted, of_logits, mostly_votes])
def test_merged_answers_are_those_of_the_whole_model(
    shard, make_checkpoint: Callable[..., Checkpoint], kind: str, max_candidates: int | None, change: Any
) -> None:
    checkpoint = make_checkpoint()
    if change is mostly_votes and kind == "centroids":
        pytest.skip("without an index over points there are no votes")
    if kind == "centroids":
        checkpoint = replace(checkpoint, shares=replace(checkpoint.shares, delta=0.0))
    model = shard(checkpoint if change is None else change(checkpoint), 3, kind=kind, max_candidates=max_candidates)
    options = PredictOptions(top_k=10)
    asked = [Asked(QUERIES, options, single=False), Asked(QUERIES[:1], PredictOptions(), single=True)]
    pairs = model.ask([*asked, Asked(QUERIES, PredictOptions(top_k=3, min_score=0.4), single=False)])
    assert any(len(ranking) == 10 for ranking in rankings(pairs[0][0]))
    require_equal(pairs)


@pytest.mark.parametrize("parts", [{"learners": 2}, {"reranker_dim": 12}, {"parts": False}])
@pytest.mark.parametrize("weights", ["int8", "float32"])
def test_all_parts_of_a_score_are_merged(
    shard, make_checkpoint: Callable[..., Checkpoint], parts: dict[str, Any], weights: Any
) -> None:
    model = shard(make_checkpoint(**parts), 4, PackOptions(weights=weights), kind="union", max_candidates=20)
    require_equal(model.ask([Asked(QUERIES, PredictOptions(top_k=8), single=False)]))


def test_probabilities_are_those_of_the_whole_model(shard, make_checkpoint: Callable[..., Checkpoint]) -> None:
    knots = Calibration(scores=[0.45, 0.5, 0.55], probabilities=[0.1, 0.2, 0.9], pairs=100, expected_error=0.01)
    fit = CalibrationFit(knots, *[Reliability.of(np.array([0.5]), np.array([True]))] * 2)
    model = shard(make_checkpoint(), 3, PackOptions(fit=fit))
    pairs = model.ask([Asked(QUERIES, PredictOptions(top_k=20, probabilities=True), single=False)])
    found = [one["probability"] for ranking in rankings(pairs[0][0]) for one in ranking]
    assert min(found) == pytest.approx(0.1)
    assert max(found) > 0.2
    require_equal(pairs)


@pytest.fixture
def described(shard, make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> Any:
    """A model with label metadata, as one artifact and as three shards."""
    checkpoint = make_checkpoint()
    rows = ({"label": text, **attributes(label)} for label, text in enumerate(checkpoint.labels))
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metadata = read_label_metadata(tmp_path / "labels.jsonl", checkpoint.labels).metadata
    return shard(checkpoint, 3, PackOptions(label_metadata=metadata), max_candidates=8)


@pytest.mark.parametrize("wanted", [{"country": "DE"}, {"tier": [3, 77, 149]}, {"tier": 1_000}, {"active": True}])
def test_filters_allow_the_same_labels(described, wanted: Any) -> None:
    for top_k in (3, 20):
        options = PredictOptions(top_k=top_k, filter=wanted, exclude={"advertiser": "acme"})
        require_equal(described.ask([Asked(QUERIES, options, single=False), Asked(QUERIES[:1], options, single=True)]))


def test_blocked_labels_are_not_named_and_others_take_their_places(described, tmp_path: Path) -> None:
    plain = Asked(QUERIES[:20], PredictOptions(top_k=4), single=False)
    first = {ranking[0]["label"] for ranking in rankings(described.ask([plain])[0][0])}
    (tmp_path / "blocked").write_text("".join(f"{label}\n" for label in sorted(first)))
    pairs = described.ask([plain], tmp_path / "blocked")
    assert not first & {one["label"] for ranking in rankings(pairs[0][1]) for one in ranking}
    require_equal(pairs)


def test_explanations_are_those_of_the_whole_model(shard, make_checkpoint: Callable[..., Checkpoint]) -> None:
    model = shard(weighted(make_checkpoint()), 3, PackOptions(training_texts=True), max_candidates=12)
    for query in QUERIES[:8]:
        ((whole, merged),) = model.ask([Asked([query], PredictOptions(top_k=4), single=True, explain=True)])
        require_equal([(whole, merged)])
        expected, found = whole["explanation"], merged["explanation"]
        assert found["tokens"] == expected["tokens"]
        for one, other in zip(expected["labels"], found["labels"], strict=True):
            assert other["parts"] == pytest.approx(one["parts"], abs=2e-6)
            assert [token["token"] for token in other["tokens"]] == [token["token"] for token in one["tokens"]]
        assert len(found["neighbours"]) == len(expected["neighbours"]) == 10
        for one, other in zip(expected["neighbours"], found["neighbours"], strict=True):
            assert other["text"] == one["text"]
            assert sorted(other["labels"]) == sorted(one["labels"])
            assert (other["vote"], other["similarity"]) == pytest.approx((one["vote"], one["similarity"]), abs=2e-6)
