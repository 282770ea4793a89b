"""What the trainer hands over: arrays in safetensors, texts and a JSON summary; never pickle.

Shapes: V vocabulary, D dimensions (D~ of the re-ranker), H learners, L labels, L' label representatives, N training
points, R reference or held-out texts.
"""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable, text_files
from astec.export.artifact.manifest import EncoderDescription, FileName, FileRecord, Frozen
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.storage.atomic_files import sha256_of, write_folder_atomically
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import Featurizer, open_featurizer
from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.artifact.text.words import Sequences
from astec.export.model.front import BAG_OF_EMBEDDINGS, Front

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
    """`checkpoint.json`: what is not an array."""

    format_version: Literal[2] = 2
    vocabulary_sha256: str
    encoder: EncoderDescription = EncoderDescription()
    alpha: float
    beta: float
    gamma: float
    delta: float
    num_texts: int
    centroid_neighbours: int
    point_neighbours: int
    metrics: dict[str, float]
    training: dict[str, str | int | float | bool | None]
    files: dict[FileName, FileRecord]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the trained model computes for a few held-out texts, for the exporter to compare with.

    `sequences` are their ids in order, where the encoder reads such.

    Shapes: `bags` of R texts, `v` and `x_hat` float32 [R, D], `x_tilde` float32 [R, D~] ([R, 0] without a re-ranker),
    `labels` int32 [R, K], `logits` float32 [R, K].
    """

    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]
    labels: NDArray[np.int32]
    logits: NDArray[np.float32]
    sequences: Sequences | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out texts as the trained model sees them, for the exporter to choose how to search.

    `sequences` are their ids in order, where the encoder reads such.

    Where the run learnt them too in the end (a refit), `points` are the training points that they became, and `sparse`,
    `centroids` and `centroid_labels` what there was before; where it did not, these are empty.

    Shapes: `bags` of R texts, `v` and `x_hat` float32 [R, D], `x_tilde` float32 [R, D~] ([R, 0] without a re-ranker),
    `labels` of each; `points` int64 [R] or [0]; `centroids` and `centroid_labels` as in `Checkpoint`, [0, D] and [0].
    """

    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]
    labels: LabelSets
    points: NDArray[np.int64]
    centroids: NDArray[np.float32]
    centroid_labels: NDArray[np.int32]
    sparse: SparseClassifier | None
    sequences: Sequences | None = None

    def take(self, count: int) -> HeldOut:
        """The first `count` texts."""
        indptr = self.labels.indptr[: count + 1]
        return replace(
            self,
            bags=self.bags.take(np.arange(count)),
            sequences=None if self.sequences is None else self.sequences.take(np.arange(count)),
            v=self.v[:count],
            x_hat=self.x_hat[:count],
            x_tilde=self.x_tilde[:count],
            labels=LabelSets(indptr, self.labels.indices[: indptr[-1]]),
        )


@dataclass(frozen=True, slots=True)
class DenseArrays:
    """The learnt arrays of an encoder and its classifiers; of H learners side by side.

    x-hat = v + ReLU(R v) with R block-diagonal, a block for each learner, over the v that `front` makes of embeddings.

    Shapes: `embeddings` [V, D] of tokens, or of what else the front reads; `residuals` [H, D / H, D / H], `classifier`
    [L, D], `bias` [L], all float32.
    """

    embeddings: NDArray[np.float32]
    residuals: NDArray[np.float32]
    classifier: NDArray[np.float32]
    bias: NDArray[np.float32]
    front: Front = BAG_OF_EMBEDDINGS

    @property
    def dim(self) -> int:
        """D."""
        return int(self.classifier.shape[1])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished training run.

    Attributes:
        shares: of the parts of a score.
        centroids: label representatives, unit rows [L', D] in label order, and `centroid_labels`, the label of each.
        points: training points, unit rows [N, D], and `point_labels`, the labels of each.
        centroid_neighbours, point_neighbours: hits among either that made the shortlist while the shares were chosen.
        point_texts: of the training points, as far as the featurizer looks at them; None of runs on feature ids, and of
            runs from before they were kept.
    """

    shares: Shares
    sparse: SparseClassifier | None
    metrics: dict[str, float]
    training: dict[str, str | int | float | bool | None]
    featurizer: Featurizer
    labels: TextTable
    label_counts: NDArray[np.int64]
    num_texts: int
    model: DenseArrays
    reranker: DenseArrays | None
    centroids: NDArray[np.float32]
    centroid_labels: NDArray[np.int32]
    centroid_neighbours: int
    points: NDArray[np.float32]
    point_labels: LabelSets
    point_neighbours: int
    reference: Reference
    held_out: HeldOut
    point_texts: TextTable | None = None

    def before_refit(self) -> Checkpoint:
        """The model as it was when it had not seen the held-out texts; itself where it never learnt them."""
        held_out = self.held_out
        if not len(held_out.points):
            return self
        learnt_N = np.ones(len(self.points), np.bool_)
        learnt_N[held_out.points] = False
        return replace(
            self,
            points=self.points[learnt_N],
            point_labels=self.point_labels.take(np.flatnonzero(learnt_N)),
            point_texts=None,
            centroids=held_out.centroids,
            centroid_labels=held_out.centroid_labels,
            sparse=held_out.sparse,
        )


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Write `run/checkpoint`, whole or not at all.

    Raises:
        FileExistsError: the run has one already.
        OSError: the disk is full.
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
        CheckpointError: no run, an unfinished run, or a damaged file.
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
    if checkpoint.reranker is not None:
        arrays |= _named(checkpoint.reranker, _RERANKER_PREFIX)
    if checkpoint.sparse is not None:
        arrays |= _named(checkpoint.sparse, _SPARSE_PREFIX)
    _save(arrays, folder / MODEL_FILE)
    arrays = _sequence_arrays(reference.sequences) | {
        "ids": reference.bags.ids,
        "weights": reference.bags.weights,
        "offsets": reference.bags.offsets,
        "v": reference.v,
        "x_hat": reference.x_hat,
        "x_tilde": reference.x_tilde,
        "labels": reference.labels,
        "logits": reference.logits,
    }
    _save(arrays, folder / REFERENCE_FILE)
    held_out = checkpoint.held_out
    arrays = _sequence_arrays(held_out.sequences) | {
        "ids": held_out.bags.ids,
        "weights": held_out.bags.weights,
        "offsets": held_out.bags.offsets,
        "v": held_out.v,
        "x_hat": held_out.x_hat,
        "x_tilde": held_out.x_tilde,
        "labels.indptr": held_out.labels.indptr,
        "labels.indices": held_out.labels.indices,
        "points": held_out.points,
        "centroids": held_out.centroids,
        "centroid_labels": held_out.centroid_labels,
    }
    if held_out.sparse is not None:
        arrays |= _named(held_out.sparse, _SPARSE_PREFIX)
    _save(arrays, folder / HELD_OUT_FILE)


def _sequence_arrays(sequences: Sequences | None) -> dict[str, NDArray[Any]]:
    return {} if sequences is None else {"sequences.ids": sequences.ids, "sequences.offsets": sequences.offsets}


def _sequences(arrays: dict[str, NDArray[Any]]) -> Sequences | None:
    """What `_sequence_arrays` took apart."""
    if "sequences.ids" not in arrays:
        return None
    return Sequences(arrays["sequences.ids"], arrays["sequences.offsets"])


def _save(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    except SafetensorError as error:  # no OSError even where the disk is full
        raise OSError(f"{path} cannot be written: {error}") from error


_Part = TypeVar("_Part", DenseArrays, SparseClassifier)


def _named(part: DenseArrays | SparseClassifier, prefix: str = "") -> dict[str, NDArray[Any]]:
    return {prefix + field.name: getattr(part, field.name) for field in _array_fields(type(part))}


def _array_fields(kind: type[DenseArrays | SparseClassifier]) -> list[Field[Any]]:
    """All but the front, which has a file of its own."""
    return [field for field in fields(kind) if field.name != _FRONT]


def _part(kind: type[_Part], arrays: dict[str, NDArray[Any]], prefix: str = "") -> _Part:
    """What `_named` took apart.

    Raises:
        KeyError: an array is missing.
    """
    found: dict[str, Any] = {field.name: arrays[prefix + field.name] for field in _array_fields(kind)}
    return kind(**found)


def _optional_part(kind: type[_Part], arrays: dict[str, NDArray[Any]], prefix: str) -> _Part | None:
    return _part(kind, arrays, prefix) if any(name.startswith(prefix) for name in arrays) else None


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
    reference, held_out = load_file(folder / REFERENCE_FILE), load_file(folder / HELD_OUT_FILE)
    featurizer = open_featurizer(folder)
    if featurizer.vocabulary_sha256() != summary.vocabulary_sha256:
        raise ValueError("the vocabulary is not the one that the model was trained with")
    point_texts = None
    if summary.files.keys() & set(text_files(POINT_TEXTS_STEM)):
        point_texts = TextTable.open(folder, POINT_TEXTS_STEM)
        if len(point_texts) != len(arrays["points"]):
            raise ValueError(f"there are {len(point_texts)} texts of {len(arrays['points'])} training points")
    return Checkpoint(
        shares=Shares(summary.alpha, summary.beta, summary.gamma, summary.delta),
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
        point_labels=LabelSets(arrays["point_labels.indptr"], arrays["point_labels.indices"]),
        point_neighbours=summary.point_neighbours,
        reference=Reference(
            Bags(reference["ids"], reference["weights"], reference["offsets"]),
            reference["v"],
            reference["x_hat"],
            reference["x_tilde"],
            reference["labels"],
            reference["logits"],
            _sequences(reference),
        ),
        held_out=HeldOut(
            Bags(held_out["ids"], held_out["weights"], held_out["offsets"]),
            held_out["v"],
            held_out["x_hat"],
            held_out["x_tilde"],
            LabelSets(held_out["labels.indptr"], held_out["labels.indices"]),
            held_out["points"],
            held_out["centroids"],
            held_out["centroid_labels"],
            _optional_part(SparseClassifier, held_out, _SPARSE_PREFIX),
            _sequences(held_out),
        ),
        point_texts=point_texts,
    )
