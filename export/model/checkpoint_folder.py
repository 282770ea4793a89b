"""The checkpoint on disk: arrays in safetensors, texts and a JSON summary; never pickle.

The folder is written whole or not at all, and verified when it is read.
"""

from __future__ import annotations

from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from astec.export.artifact.labels.label_sets import NO_WEIGHTS, LabelSets
from astec.export.artifact.labels.text_table import TextTable, text_files
from astec.export.artifact.manifest import EncoderDescription, FileName, FileRecord, Frozen, Logistic
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.storage.atomic_files import sha256_of, write_folder_atomically
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import open_featurizer
from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.artifact.text.words import Sequences
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference
from astec.export.model.front import Front

CHECKPOINT_FOLDER = "checkpoint"
SUMMARY_FILE = "checkpoint.json"
MODEL_FILE = "model.safetensors"
REFERENCE_FILE = "reference.safetensors"
HELD_OUT_FILE = "held_out.safetensors"
FRONT_FILE = "front.onnx"
LABELS_STEM = "labels"
POINT_TEXTS_STEM = "point_texts"
_RERANKER_PREFIX = "reranker."
_SPARSE_PREFIX = "sparse."
_FRONT = "front"


class CheckpointError(Exception):
    """A run that cannot be exported; the message names the file and the remedy."""


class CheckpointSummary(Frozen):
    """The content of `checkpoint.json`: everything that is not an array or a text."""

    format_version: Literal[2] = 2
    vocabulary_sha256: str
    encoder: EncoderDescription = EncoderDescription()
    alpha: float
    beta: float
    gamma: float
    delta: float
    logistic: Logistic | None = None
    label_text_share: float = 0.0
    num_texts: int
    centroid_neighbours: int
    point_neighbours: int
    metrics: dict[str, float]
    training: dict[str, str | int | float | bool | None]
    files: dict[FileName, FileRecord]


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Write `run/checkpoint`, whole or not at all.

    Raises:
        FileExistsError: the run already has a checkpoint.
        OSError: the files cannot be written, for example because the disk is full.
    """
    target = run / CHECKPOINT_FOLDER
    with write_folder_atomically(target) as folder:
        _write_arrays(folder, checkpoint)
        checkpoint.featurizer.save(folder)
        checkpoint.labels.save(folder, LABELS_STEM)
        front = checkpoint.model.front
        (folder / FRONT_FILE).write_bytes(front.graph)
        if front.tokenizer is not None:
            (folder / TOKENIZER_FILE).write_bytes(front.tokenizer)
        if checkpoint.point_texts is not None:
            checkpoint.point_texts.save(folder, POINT_TEXTS_STEM)
        summary = CheckpointSummary(
            vocabulary_sha256=checkpoint.featurizer.vocabulary_sha256(),
            encoder=front.description,
            **asdict(checkpoint.shares),
            label_text_share=checkpoint.label_text_share,
            num_texts=checkpoint.num_texts,
            centroid_neighbours=checkpoint.centroid_neighbours,
            point_neighbours=checkpoint.point_neighbours,
            metrics=checkpoint.metrics,
            training=checkpoint.training,
            files={
                path.name: FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
                for path in sorted(folder.iterdir())
            },
        )
        (folder / SUMMARY_FILE).write_text(summary.model_dump_json(indent=2) + "\n")
    return target


def read_checkpoint(run: Path) -> Checkpoint:
    """Read and verify `run/checkpoint`.

    Raises:
        CheckpointError: the run does not exist or is unfinished, or a file is damaged.
    """
    folder = run / CHECKPOINT_FOLDER
    summary = _read_summary(run, folder)
    _verify_files(folder, summary)
    try:
        return _load(folder, summary)
    except (ValueError, KeyError, RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}. {_REMEDY}") from error


_REMEDY = "Train again with astec-train DATA RUN"


def _write_arrays(folder: Path, checkpoint: Checkpoint) -> None:
    reference = checkpoint.reference
    arrays = _named(checkpoint.model) | {
        "label_counts": checkpoint.label_counts,
        "centroids": checkpoint.centroids,
        "centroid_labels": checkpoint.centroid_labels,
        "points": checkpoint.points,
        "point_labels.indptr": checkpoint.point_labels.indptr,
        "point_labels.indices": checkpoint.point_labels.indices,
    }
    if len(checkpoint.point_labels.weights):
        arrays["point_labels.weights"] = checkpoint.point_labels.weights
    if checkpoint.reranker is not None:
        arrays |= _named(checkpoint.reranker, _RERANKER_PREFIX)
    if checkpoint.sparse is not None:
        arrays |= _named(checkpoint.sparse, _SPARSE_PREFIX)
    _save(arrays, folder / MODEL_FILE)
    _save(
        _encoded_arrays(reference) | {"labels": reference.labels, "logits": reference.logits}, folder / REFERENCE_FILE
    )
    held_out = checkpoint.held_out
    arrays = _encoded_arrays(held_out) | {
        "labels.indptr": held_out.labels.indptr,
        "labels.indices": held_out.labels.indices,
        "points": held_out.points,
        "centroids": held_out.centroids,
        "centroid_labels": held_out.centroid_labels,
    }
    if held_out.sparse is not None:
        arrays |= _named(held_out.sparse, _SPARSE_PREFIX)
    _save(arrays, folder / HELD_OUT_FILE)


def _encoded_arrays(texts: Reference | HeldOutTexts) -> dict[str, NDArray[Any]]:
    """Return the arrays of texts and their representations, by name."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": texts.bags.ids,
        "weights": texts.bags.weights,
        "offsets": texts.bags.offsets,
        "v": texts.v,
        "x_hat": texts.x_hat,
        "x_tilde": texts.x_tilde,
    }
    if texts.sequences is not None:
        arrays |= {"sequences.ids": texts.sequences.ids, "sequences.offsets": texts.sequences.offsets}
    return arrays


def _sequences(arrays: dict[str, NDArray[Any]]) -> Sequences | None:
    """Return the token sequences of stored texts; None where the encoder does not read them."""
    if "sequences.ids" not in arrays:
        return None
    return Sequences(arrays["sequences.ids"], arrays["sequences.offsets"])


def _save(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    except SafetensorError as error:  # safetensors raises no OSError, even where the disk is full
        raise OSError(f"{path} cannot be written: {error}") from error


_Part = TypeVar("_Part", DenseArrays, SparseClassifier)


def _named(part: DenseArrays | SparseClassifier, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return the arrays of a part by name."""
    return {prefix + field.name: getattr(part, field.name) for field in _array_fields(type(part))}


def _array_fields(kind: type[DenseArrays | SparseClassifier]) -> list[Field[Any]]:
    """Return the fields that are arrays: all but the front, which has a file of its own."""
    return [field for field in fields(kind) if field.name != _FRONT]


def _part(kind: type[_Part], arrays: dict[str, NDArray[Any]], prefix: str = "") -> _Part:
    """Build a part from its arrays by name, the inverse of `_named`.

    Raises:
        KeyError: an array is missing.
    """
    found: dict[str, Any] = {field.name: arrays[prefix + field.name] for field in _array_fields(kind)}
    return kind(**found)


def _optional_part(kind: type[_Part], arrays: dict[str, NDArray[Any]], prefix: str) -> _Part | None:
    return _part(kind, arrays, prefix) if any(name.startswith(prefix) for name in arrays) else None


def read_training(run: Path) -> dict[str, str | int | float | bool | None]:
    """Return what a checkpoint says of its training, without the model.

    Raises:
        CheckpointError: there is no finished run, or its summary cannot be read.
    """
    return _read_summary(run, run / CHECKPOINT_FOLDER).training


def _read_front(folder: Path, summary: CheckpointSummary) -> Front:
    tokenizer = (folder / TOKENIZER_FILE).read_bytes() if TOKENIZER_FILE in summary.files else None
    return Front(summary.encoder, (folder / FRONT_FILE).read_bytes(), tokenizer)


def _read_summary(run: Path, folder: Path) -> CheckpointSummary:
    if not run.is_dir():
        raise CheckpointError(f"{run} is not a run folder: there is no such folder. {_REMEDY}")
    path = folder / SUMMARY_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{run} has no {CHECKPOINT_FOLDER}/{SUMMARY_FILE}: it is not a run folder, or its training did not finish. "
            f"{_REMEDY}"
        )
    try:
        return CheckpointSummary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: field {field}: {first['msg']}. {_REMEDY}") from error


def _verify_files(folder: Path, summary: CheckpointSummary) -> None:
    for name, record in summary.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing from {folder}. {_REMEDY}")
        if path.stat().st_size != record.bytes or sha256_of(path) != record.sha256:
            raise CheckpointError(f"{name} in {folder} is damaged: it is not what {SUMMARY_FILE} says. {_REMEDY}")


def _load(folder: Path, summary: CheckpointSummary) -> Checkpoint:
    arrays = load_file(folder / MODEL_FILE)
    featurizer = open_featurizer(folder)
    if featurizer.vocabulary_sha256() != summary.vocabulary_sha256:
        raise ValueError("the vocabulary is not the one that the model was trained with")
    point_texts = None
    if summary.files.keys() & set(text_files(POINT_TEXTS_STEM)):
        point_texts = TextTable.open(folder, POINT_TEXTS_STEM)
        if len(point_texts) != len(arrays["points"]):
            raise ValueError(f"there are {len(point_texts)} texts of {len(arrays['points'])} training points")
    return Checkpoint(
        shares=Shares(summary.alpha, summary.beta, summary.gamma, summary.delta, summary.logistic),
        label_text_share=summary.label_text_share,
        sparse=_optional_part(SparseClassifier, arrays, _SPARSE_PREFIX),
        metrics=summary.metrics,
        training=summary.training,
        featurizer=featurizer,
        labels=TextTable.open(folder, LABELS_STEM),
        label_counts=arrays["label_counts"],
        num_texts=summary.num_texts,
        model=replace(_part(DenseArrays, arrays), front=_read_front(folder, summary)),
        reranker=_optional_part(DenseArrays, arrays, _RERANKER_PREFIX),
        centroids=arrays["centroids"],
        centroid_labels=arrays["centroid_labels"],
        centroid_neighbours=summary.centroid_neighbours,
        points=arrays["points"],
        point_labels=LabelSets(
            arrays["point_labels.indptr"],
            arrays["point_labels.indices"],
            arrays.get("point_labels.weights", NO_WEIGHTS),
        ),
        point_neighbours=summary.point_neighbours,
        reference=_read_reference(folder),
        held_out=_read_held_out(folder),
        point_texts=point_texts,
    )


def _read_reference(folder: Path) -> Reference:
    arrays = load_file(folder / REFERENCE_FILE)
    return Reference(
        Bags(arrays["ids"], arrays["weights"], arrays["offsets"]),
        arrays["v"],
        arrays["x_hat"],
        arrays["x_tilde"],
        arrays["labels"],
        arrays["logits"],
        _sequences(arrays),
    )


def _read_held_out(folder: Path) -> HeldOutTexts:
    arrays = load_file(folder / HELD_OUT_FILE)
    return HeldOutTexts(
        Bags(arrays["ids"], arrays["weights"], arrays["offsets"]),
        arrays["v"],
        arrays["x_hat"],
        arrays["x_tilde"],
        LabelSets(arrays["labels.indptr"], arrays["labels.indices"]),
        arrays["points"],
        arrays["centroids"],
        arrays["centroid_labels"],
        _optional_part(SparseClassifier, arrays, _SPARSE_PREFIX),
        _sequences(arrays),
    )
