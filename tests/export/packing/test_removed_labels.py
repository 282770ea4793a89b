"""Labels that are taken out of a run before it is exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from astec.export.__main__ import app
from astec.export.artifact.store import open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.packing.pack import pack
from astec.export.packing.removed_labels import remove_labels
from astec.export.search.indices import Indices
from astec.server.engine.predictor import Predictor


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint(reranker_dim=24)


def test_what_is_left_is_that_of_the_labels_left(
    checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    gone = [checkpoint.labels[label] for label in (0, 7, 8, 149)]
    narrowed = remove_labels(checkpoint, [*gone, gone[0]])
    kept = [label for label in range(len(checkpoint.labels)) if checkpoint.labels[label] not in gone]
    assert list(narrowed.labels) == [checkpoint.labels[label] for label in kept]
    assert np.array_equal(narrowed.model.classifier, checkpoint.model.classifier[kept])
    assert np.array_equal(narrowed.label_counts, checkpoint.label_counts[kept])
    assert checkpoint.reranker is not None
    assert narrowed.reranker is not None
    assert np.array_equal(narrowed.reranker.bias, checkpoint.reranker.bias[kept])
    assert len(narrowed.points) == len(narrowed.point_labels)
    assert narrowed.training["removed_labels"] == 4
    pack(narrowed, build_indices(narrowed), tmp_path / "artifact", "narrowed")
    artifact = open_artifact(tmp_path / "artifact")
    rankings, _ = Predictor(artifact).predict(gone, 20)
    assert not {artifact.labels[label] for ranking in rankings for label in ranking.label_ids.tolist()} & set(gone)


def test_points_and_held_out_texts_keep_their_other_labels(checkpoint: Checkpoint) -> None:
    gone = checkpoint.labels[3]
    narrowed = remove_labels(checkpoint, [gone])

    def texts_of(given: Checkpoint, held_out: bool) -> list[set[str]]:
        sets = given.held_out.labels if held_out else given.point_labels
        bounds = sets.indptr.tolist()
        each = (sets.indices[bounds[i] : bounds[i + 1]].tolist() for i in range(len(sets)))
        return [{given.labels[label] for label in labels} for labels in each]

    for held_out in (False, True):
        expected = [labels - {gone} for labels in texts_of(checkpoint, held_out)]
        assert texts_of(narrowed, held_out) == [labels for labels in expected if labels]
    assert len(narrowed.held_out.bags) == len(narrowed.held_out.v) == len(narrowed.held_out.labels)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            ["nowhere", "no such"],
            r"2 of 2 labels to remove are not labels of the run: 'nowhere', 'no such'; write them",
        ),
        ([], "there is no label to remove: the file has none"),
    ],
    ids=["unknown", "none"],
)
def test_labels_that_cannot_be_removed(checkpoint: Checkpoint, given: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        remove_labels(checkpoint, given)


def test_one_label_must_be_left(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match="all 150 labels of the run are to be removed; leave one at least"):
        remove_labels(checkpoint, checkpoint.labels)


@pytest.mark.slow
def test_the_command_removes_the_labels_of_a_file(demo_run: Path, tmp_path: Path) -> None:
    run = read_checkpoint(demo_run)
    (tmp_path / "gone.txt").write_text(f"{run.labels[0]}\n\n{run.labels[5]}\n")
    arguments = [str(demo_run), str(tmp_path / "artifact"), "--remove-labels", str(tmp_path / "gone.txt")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "removed 2 labels, and" in result.output
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert manifest.dimensions.num_labels == len(run.labels) - 2
    assert manifest.training["removed_labels"] == 2
    (tmp_path / "unknown.txt").write_text("no such label\n")
    arguments[1:] = [str(tmp_path / "another"), "--remove-labels", str(tmp_path / "unknown.txt")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "1 of 1 labels to remove are not labels of the run: 'no such label'" in refused.output
    assert not (tmp_path / "another").exists()
