"""Labels known by their texts alone: what is added, that it is found, and that the run's own stay as they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from astec.export.__main__ import app
from astec.export.artifact.scoring.shares import PartWeights
from astec.export.artifact.scoring.sparse import SPARSE_SLOPE
from astec.export.artifact.store import open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.packing.added_labels import add_labels, fit_line, fit_sum
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.engine.predictor import Predictor

NEW = ["cheap purple running hose", "used chair for the garden phone"]


@pytest.fixture(scope="module")
def run(demo_run: Path) -> Checkpoint:
    return read_checkpoint(demo_run)


def test_added_labels_are_found_by_their_words(
    run: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    extended = add_labels(run, NEW)
    assert (extended.added, extended.present, extended.unknown) == (2, 0, 0)
    indices = build_indices(extended.checkpoint, kind="points")
    pack(extended.checkpoint, indices, tmp_path / "artifact", "demo")
    predictor = Predictor(open_artifact(tmp_path / "artifact"))
    rankings, _ = predictor.predict(NEW, 3)
    for position, ranking in enumerate(rankings):
        assert len(run.labels) + position in ranking.label_ids.tolist()
    assert predictor.artifact.labels[len(run.labels)] == NEW[0]


def test_what_the_run_has_stays_as_it_is(run: Checkpoint) -> None:
    extended = add_labels(run, NEW).checkpoint
    assert list(extended.labels)[: len(run.labels)] == list(run.labels)
    assert np.array_equal(extended.model.classifier[:-2], run.model.classifier)
    assert np.array_equal(extended.model.bias[:-2], run.model.bias)
    assert np.array_equal(extended.points[:-2], run.points)
    assert np.array_equal(extended.centroids[:-2], run.centroids)
    assert extended.label_counts.tolist() == [*run.label_counts.tolist(), 0, 0]
    assert run.sparse is not None
    assert extended.sparse is not None
    by_label: list[Any] = [*zip(run.sparse.by_label(), extended.sparse.by_label(), strict=True)]
    for before, after in by_label:
        assert np.array_equal(after[: len(before)], before)
    before_refit = extended.before_refit()
    assert len(before_refit.points) == len(run.before_refit().points) + 2
    assert before_refit.centroid_labels[-2:].tolist() == [len(run.labels), len(run.labels) + 1]


def test_labels_that_cannot_be_added_are_counted(run: Checkpoint) -> None:
    extended = add_labels(run, [NEW[0], run.labels[3], NEW[0], "日本語"])
    assert (extended.added, extended.present, extended.unknown) == (1, 1, 1)
    assert extended.checkpoint.training["added_labels"] == 1


def test_the_command_adds_the_labels_of_a_file(demo_run: Path, run: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(f"{NEW[0]}\n\n{NEW[1]}\n{run.labels[0]}\n")
    arguments = [str(demo_run), str(tmp_path / "artifact"), "--add-labels", str(tmp_path / "labels.txt")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert manifest.dimensions.num_labels == len(run.labels) + 2
    assert manifest.training["added_labels"] == 2


def test_none_to_add(run: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"of 2 labels to add, 1 are the run.s own, and of the others no token"):
        add_labels(run, [run.labels[0], "日本語"])


def test_a_run_that_cannot_take_labels(run: Checkpoint, make_checkpoint: Callable[..., Checkpoint]) -> None:
    with pytest.raises(ValueError, match="cannot be added to a run with a re-ranker"):
        add_labels(make_checkpoint(reranker_dim=8), NEW)
    nothing = replace(run.held_out.take(0), points=run.held_out.points)
    with pytest.raises(ValueError, match="the run has no held-out texts"):
        add_labels(replace(run, held_out=nothing), NEW)


def test_the_line_of_a_logistic_truth_is_found() -> None:
    generator = np.random.default_rng(0)
    similarities_P = generator.random(200_000).astype(np.float32)
    hits_P = generator.random(len(similarities_P)) < 1 / (1 + np.exp(-(6 * similarities_P - 4)))
    line = fit_line(similarities_P, hits_P)
    assert line.slope == pytest.approx(6, abs=0.2)
    assert line.bias == pytest.approx(-4, abs=0.2)


def test_a_line_through_what_is_told_apart_without_error_stays_finite() -> None:
    similarities_P = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    line = fit_line(similarities_P, similarities_P > 0.5)
    assert np.isfinite([line.slope, line.bias]).all()
    assert line.slope > 0


@pytest.mark.parametrize(
    ("classifier", "sparse"), [(0.5, 2.0), (0.5, 0.0), (0.0, 2.0)], ids=["both", "dense alone", "sparse alone"]
)
def test_the_weighed_sum_of_both_lines_is_the_log_odds(classifier: float, sparse: float) -> None:
    generator = np.random.default_rng(0)
    near_P, shared_P = generator.uniform(0, 1, (2, 40_000)).astype(np.float32)
    told_P = (3 * near_P if classifier else 0) + (5 * shared_P if sparse else 0) - 4.0
    hits_P = generator.random(len(near_P)) < 1 / (1 + np.exp(-told_P))
    weights = PartWeights(classifier, 0.2, sparse, 0.0, 0.0, bias=-1.0, as_logits=True)
    fit = fit_sum(near_P, shared_P, hits_P, np.ones(len(near_P)), weights)
    assert fit.label_text_share == 0
    dense_P = fit.dense.slope * near_P + fit.dense.bias
    sparse_P = (fit.sparse.slope * shared_P + fit.sparse.bias) / SPARSE_SLOPE
    sums_P = weights.classifier * dense_P + weights.sparse * sparse_P + weights.bias
    assert sums_P == pytest.approx(told_P, abs=0.35)
