"""The map from scores to probabilities: computed by hand, as properties, and recovered from miscalibrated scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from astec.export.__main__ import app
from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.manifest import MAX_KNOTS
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.store import open_artifact
from astec.export.calibration.fit import (
    CALIBRATED_RANKS,
    FOLDS,
    MIN_TEXTS,
    Blocks,
    cross_fit,
    fit_calibration,
    pool_adjacent_violators,
    simplify,
)
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import write_checkpoint
from astec.export.search.indices import IndexBuilder
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.export.search.tradeoff import score_held_out
from tests.artifact_files import FILES

_GRAPH = HnswParams(8, 100, 20)
PINNED = ("--shortlist", "points", "--dim", "8", "--neighbours", "10", "--m", "8", "--ef-search", "20")
# Powers of two: sums of them are exact.
SCORES = st.integers(0, 64).map(lambda number: number / 64)


def pairs_of(scores: list[float], hits: list[int], per_text: int = 1) -> ScoredPairs:
    return ScoredPairs(np.arange(len(scores)) // per_text, np.array(scores, np.float32), np.array(hits, np.bool_))


def stair(blocks: Blocks) -> list[tuple[float, float, int]]:
    return list(zip(blocks.scores.tolist(), blocks.probabilities.tolist(), blocks.pairs.tolist(), strict=True))


@pytest.mark.parametrize(
    ("scores", "hits", "expected"),
    [
        ([0.5], [1], [(0.5, 1.0, 1)]),
        ([0.25, 0.5], [0, 1], [(0.25, 0.0, 1), (0.5, 1.0, 1)]),
        ([0.25, 0.5], [1, 0], [(0.375, 0.5, 2)]),
        ([0.25, 0.5, 0.75], [0, 0, 1], [(0.375, 0.0, 2), (0.75, 1.0, 1)]),
        ([0.75, 0.25, 0.5, 0.5], [1, 0, 1, 0], [(0.25, 0.0, 1), (0.5, 0.5, 2), (0.75, 1.0, 1)]),
        # The violation at the end reaches back over two blocks.
        ([0.0, 0.25, 0.5, 0.75], [0, 1, 1, 0], [(0.0, 0.0, 1), (0.5, 2 / 3, 3)]),
    ],
)
def test_stairs_worked_out_by_hand(
    scores: list[float], hits: list[int], expected: list[tuple[float, float, int]]
) -> None:
    assert stair(pool_adjacent_violators(pairs_of(scores, hits))) == expected


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=80))
def test_stairs_rise_keep_the_mean_and_are_the_nearest(drawn: list[tuple[float, bool]]) -> None:
    scores, hits = zip(*drawn, strict=True)
    blocks = pool_adjacent_violators(pairs_of(list(scores), list(hits)))
    assert np.all(np.diff(blocks.probabilities) > 0)
    assert np.all(np.diff(blocks.scores) > 0)
    assert blocks.hits.sum() == sum(hits)
    assert blocks.pairs.sum() == len(hits)
    # The map that never falls with the least squared error: its value at x is the maximum over a <= x of the minimum
    # over b >= x of the mean between a and b.
    distinct = np.unique(scores)
    means = {
        (a, b): np.mean([hit for score, hit in drawn if a <= score <= b]) for a in distinct for b in distinct if a <= b
    }
    nearest = [max(min(means[a, b] for b in distinct if b >= x) for a in distinct if a <= x) for x in distinct]
    ends = np.searchsorted(np.sort(scores), distinct, "right")
    found = blocks.probabilities[np.searchsorted(np.cumsum(blocks.pairs), ends)]
    assert found == pytest.approx(nearest)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=80), st.integers(1, 6), st.integers(1, 9))
def test_a_simplified_stair_rises_and_keeps_the_mean(
    drawn: list[tuple[float, bool]], max_blocks: int, min_pairs: int
) -> None:
    scores, hits = zip(*drawn, strict=True)
    blocks = simplify(pool_adjacent_violators(pairs_of(list(scores), list(hits))), max_blocks, min_pairs)
    assert 1 <= len(blocks.pairs) <= max_blocks
    assert blocks.pairs.min() >= min(min_pairs, len(drawn))
    assert np.all(np.diff(blocks.probabilities) > 0)
    assert (blocks.hits.sum(), blocks.pairs.sum()) == (sum(hits), len(hits))


def test_few_knots_say_nearly_what_many_do() -> None:
    scores, hits = miscalibrated(200_000)
    whole = pool_adjacent_violators(ScoredPairs(np.arange(len(scores)), scores, hits))
    few = simplify(whole)
    assert len(whole.pairs) > MAX_KNOTS >= len(few.pairs)
    by_whole, by_few = (
        Calibrator(blocks.scores.tolist(), blocks.probabilities.tolist()).probabilities(scores)
        for blocks in (whole, few)
    )
    assert np.sqrt(np.mean((by_whole - by_few) ** 2)) < 0.005


def true_probability(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities far from the scores: half of them are below 0.04."""
    return np.asarray(scores.astype(np.float64) ** 5)


def miscalibrated(count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    scores = rng.random(count).astype(np.float32)
    return scores, rng.random(count) < true_probability(scores)


def test_the_truth_behind_wrong_scores_is_recovered() -> None:
    scores, hits = miscalibrated(20_000)
    fit = fit_calibration(ScoredPairs(np.arange(len(scores)) // CALIBRATED_RANKS, scores, hits))
    assert fit is not None
    assert fit.calibration.pairs == 20_000
    assert fit.scores.expected_error > 0.3
    assert fit.probabilities.expected_error < 0.02
    assert fit.calibration.expected_error == fit.probabilities.expected_error
    assert fit.probabilities.brier < fit.scores.brier
    grid = np.linspace(0, 1, 101, dtype=np.float32)
    found = Calibrator.of(fit.calibration).probabilities(grid)
    assert np.abs(found - true_probability(grid)).max() < 0.06
    assert np.all(np.diff(found) >= 0)


def test_a_text_is_judged_by_a_map_that_does_not_know_it() -> None:
    """Inverting the outcomes of one fold changes the probabilities of all texts except those of that fold."""
    scores, hits = miscalibrated(4_000)
    pairs = ScoredPairs(np.arange(len(scores)) // CALIBRATED_RANKS, scores, hits)
    is_first = pairs.texts % FOLDS == 0
    before, after = cross_fit(pairs), cross_fit(replace(pairs, hits=hits ^ is_first))
    assert np.array_equal(before[is_first], after[is_first])
    assert (before[~is_first] != after[~is_first]).mean() > 0.9


def test_what_is_known_by_heart_earns_nothing() -> None:
    """A map of many blocks learns random outcomes perfectly, but a map fitted on other texts cannot predict them."""
    rng = np.random.default_rng(5)
    pairs = pairs_of(rng.random(1_000).tolist(), (rng.random(1_000) < 0.5).tolist())
    fit = fit_calibration(pairs)
    assert fit is not None
    known = Calibrator.of(fit.calibration).probabilities(pairs.scores)
    assert fit.probabilities.brier > np.mean((known - pairs.hits) ** 2)
    assert fit.probabilities.brier > 0.25, "worse than to say a half"


@pytest.mark.parametrize(("texts", "is_fitted"), [(0, False), (MIN_TEXTS - 1, False), (MIN_TEXTS, True)])
def test_few_texts_give_no_map(texts: int, is_fitted: bool) -> None:
    pairs = pairs_of([0.5] * 2 * texts, [1, 0] * texts, per_text=2)
    fit = fit_calibration(pairs)
    assert (fit is not None) == is_fitted
    if fit is not None:
        assert (fit.calibration.scores, fit.calibration.probabilities) == ([0.5], [0.5])


def test_beyond_the_knots_nothing_changes() -> None:
    calibrator = Calibrator([0.25, 0.75], [0.1, 0.5])
    scores = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 0.0]], np.float32)
    assert calibrator.probabilities(scores) == pytest.approx(np.array([[0.1, 0.1, 0.3], [0.5, 0.5, 0.1]]))


def test_pairs_are_those_of_labels_that_are_there() -> None:
    ranked = np.array([[3, 1, 2], [5, -1, -1], [-1, -1, -1]])
    scores = np.array([[0.9, 0.5, 0.25], [0.75, 0, 0], [0, 0, 0]], np.float32)
    pairs = ScoredPairs.of(ranked, scores, [np.array([1, 7]), np.array([5]), np.array([2])])
    assert pairs.texts.tolist() == [0, 0, 0, 1]
    assert pairs.scores == pytest.approx([0.9, 0.5, 0.25, 0.75])
    assert pairs.hits.tolist() == [False, True, False, True]
    assert pairs.num_texts == 2


def test_held_out_texts_are_scored_by_the_plan_and_the_weights_that_serve(
    make_checkpoint: Callable[..., Checkpoint],
) -> None:
    builder = IndexBuilder(make_checkpoint(learners=2, reranker_dim=8).before_refit())
    whole = ShortlistPlan(builder.dim, None, IndexPlan("flat", _GRAPH, 15), None)
    plans = {"all": whole, "few": replace(whole, max_candidates=3)}
    pairs = {name: score_held_out(builder, plan, "float32", CALIBRATED_RANKS)[1] for name, plan in plans.items()}
    _, rounded = score_held_out(builder, whole, "int8", CALIBRATED_RANKS)
    texts = pairs["all"].num_texts
    assert texts == len(builder.checkpoint.held_out.bags)
    assert len(pairs["few"].scores) == 3 * texts
    assert 3 * texts < len(pairs["all"].scores) <= CALIBRATED_RANKS * texts
    assert 0 < pairs["all"].hits.sum() < len(pairs["all"].hits)
    first = pairs["all"].texts == 0
    assert np.all(np.diff(pairs["all"].scores[first]) <= 0), "best first"
    assert 0 < np.abs(rounded.scores[:5] - pairs["all"].scores[:5]).max() < 0.05


def test_the_command_says_stores_and_draws_the_fit(demo_run: Path, tmp_path: Path) -> None:
    targets = {weights: tmp_path / weights for weights in ("float32", "int8")}
    plot = tmp_path / "reliability.png"
    for weights, target in targets.items():
        options = ("--weights", weights, "--reliability-plot", str(plot))
        result = CliRunner().invoke(app, [str(demo_run), str(target), *PINNED, *options])
        assert result.exit_code == 0, result.output
        assert "expected calibration error" in result.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    manifests = {weights: open_artifact(target).manifest for weights, target in targets.items()}
    for manifest in manifests.values():
        assert manifest.calibration is not None
        assert manifest.calibration.expected_error < 0.1
        assert manifest.public()["calibration"]["pairs"] == manifest.calibration.pairs
    assert manifests["float32"].calibration != manifests["int8"].calibration
    card = (targets["float32"] / FILES.model_card).read_text()
    assert "## Probabilities" in card
    assert "Ask for `probabilities`" in card


def test_a_run_with_too_few_held_out_texts_is_told_so(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(parts=False)
    held_out = replace(checkpoint.held_out.take(20), points=np.arange(20))
    write_checkpoint(tmp_path / "run", replace(checkpoint, held_out=held_out))
    result = CliRunner().invoke(app, [str(tmp_path / "run"), str(tmp_path / "artifact"), *PINNED])
    assert result.exit_code == 0, result.output
    assert f"20 held-out texts got a label, fewer than the {MIN_TEXTS}" in result.output
    assert open_artifact(tmp_path / "artifact").manifest.calibration is None
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert "not enough held-out texts to learn those from" in card
    assert "## Probabilities" not in card
