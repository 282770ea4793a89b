"""A checkpoint is read as it was written, or refused with an error that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.description import FEATURIZER_FILE
from astec.export.artifact.text.featurizer import IDF_FILE, TABLE_FILE
from astec.export.artifact.text.words import Sequences
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference
from astec.export.model.checkpoint_folder import (
    CHECKPOINT_FOLDER,
    FRONT_FILE,
    HELD_OUT_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    SUMMARY_FILE,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from astec.export.model.front import Front

LISTED_FILES = sorted(
    [MODEL_FILE, REFERENCE_FILE, HELD_OUT_FILE, FRONT_FILE]
    + [FEATURIZER_FILE, IDF_FILE, TABLE_FILE]
    + [f"{stem}{suffix}" for stem in ("labels", "point_texts", "vocabulary") for suffix in (".bin", ".offsets.npy")]
)


def refusal(run: Path) -> str:
    """Return the error of reading, without the path of the run, so that only the name of the file can match."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(run)
    return str(caught.value).replace(str(run), "RUN")


def edit_summary(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = run / CHECKPOINT_FOLDER / SUMMARY_FILE
    summary = json.loads(path.read_text())
    edit(summary)
    path.write_text(json.dumps(summary))


Arrays = DenseArrays | Reference | HeldOutTexts | LabelSets | SparseClassifier | Bags | Sequences


def assert_same_arrays(first: Arrays, second: Arrays) -> None:
    for field in fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, Bags | LabelSets | SparseClassifier | Sequences):
            assert_same_arrays(one, other)
        elif one is None or isinstance(one, Front):
            assert one == other
        else:
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_round_trip(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, full_checkpoint)
    again = read_checkpoint(tmp_path)
    for name in ("model", "reranker", "reference", "held_out", "point_labels", "sparse"):
        assert_same_arrays(getattr(full_checkpoint, name), getattr(again, name))
    for name in ("label_counts", "centroids", "centroid_labels", "points"):
        assert np.array_equal(getattr(full_checkpoint, name), getattr(again, name))
    plain = ("metrics", "training", "labels", "num_texts", "centroid_neighbours", "point_neighbours", "point_texts")
    for name in ("shares", *plain):
        assert getattr(full_checkpoint, name) == getattr(again, name)
    assert again.featurizer.vocabulary_sha256() == full_checkpoint.featurizer.vocabulary_sha256()


def test_a_model_of_one_learner_and_no_other_part(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    written = make_checkpoint(parts=False)
    write_checkpoint(tmp_path, written)
    read = read_checkpoint(tmp_path)
    assert_same_arrays(read.model, written.model)
    assert read.model.residuals.shape[0] == 1
    assert_same_arrays(read.reference, written.reference)
    assert read.held_out.x_tilde.shape == (len(written.held_out.bags), 0)
    assert (read.reranker, read.sparse, read.held_out.sparse) == (None, None, None)


def test_a_run_from_before_texts_were_kept(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, replace(full_checkpoint, point_texts=None))
    assert read_checkpoint(tmp_path).point_texts is None


def test_texts_of_other_points_than_there_are(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    texts = TextTable.from_texts(["one", "two"])
    write_checkpoint(tmp_path, replace(full_checkpoint, point_texts=texts))
    assert f"there are 2 texts of {len(full_checkpoint.points)} training points" in refusal(tmp_path)


def test_the_same_checkpoint_is_the_same_bytes(full_run: Path, full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, full_checkpoint)
    for path in (full_run / CHECKPOINT_FOLDER).iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_finished_run_is_not_overwritten(full_checkpoint: Checkpoint, run_copy: Path) -> None:
    with pytest.raises(FileExistsError, match="checkpoint exists already"):
        write_checkpoint(run_copy, full_checkpoint)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    unserialisable = replace(full_checkpoint, metrics={"P@1": float("nan")})
    with pytest.raises(ValueError, match=r"P@1"):
        write_checkpoint(tmp_path, unserialisable)
    assert list(tmp_path.iterdir()) == []


def test_every_file_of_a_checkpoint_is_tried_below(full_run: Path) -> None:
    found = sorted(path.name for path in (full_run / CHECKPOINT_FOLDER).iterdir())
    assert found == sorted([*LISTED_FILES, SUMMARY_FILE])


@pytest.mark.parametrize("name", LISTED_FILES)
def test_a_flipped_byte(run_copy: Path, name: str) -> None:
    path = run_copy / CHECKPOINT_FOLDER / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refusal(run_copy).startswith(f"{name} in RUN/checkpoint is damaged")


@pytest.mark.parametrize("name", LISTED_FILES)
def test_a_missing_file(run_copy: Path, name: str) -> None:
    (run_copy / CHECKPOINT_FOLDER / name).unlink()
    assert refusal(run_copy).startswith(f"{name} is missing from RUN/checkpoint. Train again")


@pytest.mark.parametrize("name", LISTED_FILES)
def test_a_missing_file_that_is_not_listed_either(run_copy: Path, name: str) -> None:
    (run_copy / CHECKPOINT_FOLDER / name).unlink()
    edit_summary(run_copy, lambda summary: summary["files"].pop(name))
    assert "cannot be loaded" in refusal(run_copy)
    assert name in refusal(run_copy)


@pytest.mark.parametrize("cut", [0, 7, 100])
@pytest.mark.parametrize("name", [MODEL_FILE, REFERENCE_FILE, HELD_OUT_FILE])
def test_arrays_cut_short_and_hashed_so(run_copy: Path, name: str, cut: int) -> None:
    path = run_copy / CHECKPOINT_FOLDER / name
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    record = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    edit_summary(run_copy, lambda summary: summary["files"].update({name: record}))
    assert "RUN/checkpoint cannot be loaded" in refusal(run_copy)


def test_the_first_held_out_texts_are_what_they_were(full_checkpoint: Checkpoint) -> None:
    held_out = full_checkpoint.held_out
    first, none = held_out.take(7), held_out.take(0)
    for name in ("v", "x_hat", "x_tilde"):
        assert getattr(first, name).tolist() == getattr(held_out, name)[:7].tolist()
        assert len(getattr(none, name)) == 0
    assert first.bags.lengths().tolist() == held_out.bags.lengths()[:7].tolist()
    assert np.split(first.labels.indices, first.labels.indptr[1:-1])[6].tolist() == [6, 10]
    assert (none.labels.indptr.tolist(), none.labels.indices.tolist(), len(none.bags)) == ([0], [], 0)
    assert_same_arrays(held_out.take(len(held_out.bags)), held_out)


def test_before_the_refit_there_is_no_held_out_text_among_the_points(full_checkpoint: Checkpoint) -> None:
    held_out = replace(full_checkpoint.held_out, points=np.array([1, 5]))
    before = replace(full_checkpoint, held_out=held_out).before_refit()
    kept = [n for n in range(len(full_checkpoint.points)) if n not in (1, 5)]
    assert before.points.tolist() == full_checkpoint.points[kept].tolist()
    labels_N = [
        np.split(sets.indices, sets.indptr[1:-1]) for sets in (full_checkpoint.point_labels, before.point_labels)
    ]
    assert [labels.tolist() for labels in labels_N[1]] == [labels_N[0][n].tolist() for n in kept]
    assert before.centroids is held_out.centroids
    assert before.centroid_labels is held_out.centroid_labels
    assert before.sparse is held_out.sparse
    assert before.model is full_checkpoint.model


def test_without_a_refit_the_model_never_learnt_the_held_out_texts(full_checkpoint: Checkpoint) -> None:
    never = replace(full_checkpoint, held_out=replace(full_checkpoint.held_out, points=np.empty(0, np.int64)))
    assert never.before_refit() is never


def test_the_vocabulary_of_another_run(run_copy: Path) -> None:
    edit_summary(run_copy, lambda summary: summary.update(vocabulary_sha256="0" * 64))
    assert "the vocabulary is not the one that the model was trained with" in refusal(run_copy)


@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("format_version", lambda summary: summary.update(format_version=1)),
        ("surprise", lambda summary: summary.update(surprise=1)),
        ("alpha", lambda summary: summary.update(alpha="half")),
        ("beta", lambda summary: summary.pop("beta")),
        ("gamma", lambda summary: summary.pop("gamma")),
        ("delta", lambda summary: summary.update(delta=None)),
        ("num_texts", lambda summary: summary.pop("num_texts")),
        ("point_neighbours", lambda summary: summary.update(point_neighbours="15")),
        ("files", lambda summary: summary["files"].update({"../x": {"bytes": 0, "sha256": "0" * 64}})),
    ],
)
def test_a_summary_field_out_of_range_is_named(
    run_copy: Path, field: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    edit_summary(run_copy, edit)
    assert f"checkpoint.json: field {field}" in refusal(run_copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_summary_that_is_none(run_copy: Path, content: bytes) -> None:
    (run_copy / CHECKPOINT_FOLDER / SUMMARY_FILE).write_bytes(content)
    assert "RUN/checkpoint/checkpoint.json" in refusal(run_copy)


def test_no_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing").startswith("RUN is not a run folder: there is no such folder. Train again")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert "it is not a run folder, or its training did not finish" in refusal(tmp_path)


def test_a_run_that_did_not_finish(full_run: Path, tmp_path: Path) -> None:
    shutil.copytree(full_run, tmp_path / "run", ignore=shutil.ignore_patterns(CHECKPOINT_FOLDER))
    assert "its training did not finish" in refusal(tmp_path / "run")
