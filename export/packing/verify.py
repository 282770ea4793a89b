"""Verification of an artifact before it is published, on the files that will be published.

Shapes: R reference texts, D dimensions (the re-ranker may have another D), d dimensions of the indices, K labels of a
reference text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import EMBEDDINGS_STEM, RERANKER_EMBEDDINGS_STEM, Embeddings
from astec.export.artifact.encoder.inputs import encoder_inputs
from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.index.base import StoredIndex
from astec.export.artifact.kernels.weight_rows import NO_SCALES
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.scoring.dense import CLASSIFIER_STEM, RERANKER_STEM, bias_file
from astec.export.artifact.shortlist.label_graph import CENTROIDS_FILE, POINTS_FILE
from astec.export.artifact.shortlist.representatives import REPRESENTATIVES_STEM
from astec.export.artifact.storage.weight_files import rows_file, scales_file
from astec.export.artifact.store import ENCODER_FILE, LABELS_STEM
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import open_featurizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.encoder_graph import run_encoder
from astec.export.search.indices import Indices
from astec.export.search.plan import Side

ENCODER_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-3
MIN_RECALL = 0.8
_RECALL_AT = 10
_FLOAT32_EPSILON = 1e-6
_CHUNK_ROWS = 65_536
_HALF_STEP = 0.501  # of a row's scale in int8, with a margin for rounding in float32


class VerificationError(Exception):
    """An artifact that does not reproduce its run's outputs; the message names the check, the figure and the limit."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The figures of the verification.

    Attributes:
        encoder_error: the largest difference between ONNX and torch, relative to the largest entry of the
            representation.
        logit_error: the largest difference between a logit of the reopened classifiers and the run's.
        recalls: the share of the 10 nearest vectors that each index finds, by its name.
        texts: the number of compared reference texts.
    """

    encoder_error: float
    logit_error: float
    recalls: dict[Side, float]
    texts: int


def verify_files_against(checkpoint: Checkpoint, indices: Indices, folder: Path) -> VerificationReport:
    """Reopen the files in `folder` and compare them with the run.

    Raises:
        VerificationError: a check failed; the message names the first one.
    """
    _verify_round_trip(checkpoint, folder)
    expected = _expected(checkpoint, indices)
    encoded = _encode(checkpoint, folder)
    errors = [_relative_error(encoded[name], expected_RD) for name, expected_RD in expected.items()]
    encoder_error = float(np.max(errors))  # np.max, because Python's max may lose a NaN
    _require(encoder_error <= ENCODER_TOLERANCE, "ONNX against torch: relative error", encoder_error, ENCODER_TOLERANCE)
    logit_error, excess = _logit_error(checkpoint, folder, encoded["x_hat"])
    _require(excess <= 0, "classifiers against the run: error of a logit", logit_error, logit_error - excess)
    z_Rd = encoded.get("z", encoded["v"])
    known_Rd = z_Rd[z_Rd.any(axis=1)]
    recalls: dict[Side, float] = {}
    files: dict[Side, str] = {"centroids": CENTROIDS_FILE, "points": POINTS_FILE}
    for side, plan in indices.plan.sides().items():
        name = files[side]
        reopened = index_backend(plan.backend).load(folder / name, indices.plan.dim, plan.params)
        recalls[side] = recall_of(reopened, known_Rd, _RECALL_AT)
        _require(
            recalls[side] >= MIN_RECALL, f"{name} against exact search: recall@{_RECALL_AT}", recalls[side], MIN_RECALL
        )
    return VerificationReport(encoder_error, logit_error, recalls, len(z_Rd))


def recall_of(index: StoredIndex, queries_RD: NDArray[np.float32], k: int) -> float:
    """Return the share of the k nearest vectors that the graph finds, compared with exact search; 1 without queries.

    A hit that is as near as the k-th exact one counts, because among equal vectors any is right.
    """
    k = min(k, index.count)
    if not len(queries_RD) or not k:
        return 1.0
    _, found_RK = index.search(queries_RD, k)
    units_RD, vectors_ND = queries_RD / np.linalg.norm(queries_RD, axis=1, keepdims=True), index.vectors()
    # One query after the other: similarities of all queries with all of ten million vectors would not fit in memory.
    kth_R = np.array([np.partition(vectors_ND @ unit_D, index.count - k)[index.count - k] for unit_D in units_RD])
    return float((found_RK >= kth_R[:, None] - _FLOAT32_EPSILON).mean())


def _verify_round_trip(checkpoint: Checkpoint, folder: Path) -> None:
    """Raise VerificationError unless texts, featurizer and weights read back as they were, int8 within rounding."""
    featurizer = open_featurizer(folder)
    equal = {
        LABELS_STEM: TextTable.open(folder, LABELS_STEM) == checkpoint.labels,
        "featurizer": featurizer.vocabulary_sha256() == checkpoint.featurizer.vocabulary_sha256(),
    }
    weights = {EMBEDDINGS_STEM: checkpoint.model.embeddings, CLASSIFIER_STEM: checkpoint.model.classifier}
    biases = {CLASSIFIER_STEM: checkpoint.model.bias}
    if checkpoint.shares.weights().similarity > 0:
        weights[REPRESENTATIVES_STEM] = checkpoint.centroids
    if checkpoint.reranker is not None:
        weights[RERANKER_EMBEDDINGS_STEM] = checkpoint.reranker.embeddings
        weights[RERANKER_STEM] = checkpoint.reranker.classifier
        biases[RERANKER_STEM] = checkpoint.reranker.bias
    equal |= {bias_file(stem): np.array_equal(_load(folder, bias_file(stem)), bias) for stem, bias in biases.items()}
    equal |= {rows_file(stem): _reads_back(folder, stem, rows_LD) for stem, rows_LD in weights.items()}
    for name, same in equal.items():
        if not same:
            raise VerificationError(f"{name} does not read back as it was written; check the disk and export again")


def _reads_back(folder: Path, stem: str, rows_LD: NDArray[np.float32]) -> bool:
    """Return True if the stored rows equal the run's, or in int8 differ by no more than rounding does."""
    stored_LD = _load(folder, rows_file(stem))
    if stored_LD.dtype == np.float32:
        return np.array_equal(stored_LD, rows_LD)
    scales_L1 = _load(folder, scales_file(stem))[:, None]
    return all(
        (
            np.abs(stored_LD[rows] * scales_L1[rows] - rows_LD[rows])
            <= _HALF_STEP * scales_L1[rows] + np.finfo(np.float32).tiny
        ).all()
        for rows in (slice(begin, begin + _CHUNK_ROWS) for begin in range(0, len(rows_LD), _CHUNK_ROWS))
    )


def _expected(checkpoint: Checkpoint, indices: Indices) -> dict[str, NDArray[np.float32]]:
    """Return every output that the encoder must have, as the run computed it."""
    reference = checkpoint.reference
    expected = {"v": reference.v, "x_hat": reference.x_hat}
    if indices.projection is not None:
        expected["z"] = reference.v @ indices.projection
    if checkpoint.reranker is not None:
        expected["x_tilde"] = reference.x_tilde
    return expected


def _encode(checkpoint: Checkpoint, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of the graph for the reference texts, by name.

    The inputs are float32 embeddings, so that rounding of the embeddings cannot hide an error of the graph; the error
    of rounded embeddings has a check of its own.
    """
    bags, sequences = checkpoint.reference.bags, checkpoint.reference.sequences
    reads, embeddings = checkpoint.model.front.description.reads, Embeddings.of(checkpoint.model.embeddings)
    inputs = encoder_inputs(reads, embeddings, bags, sequences)
    if reads == "bag":  # otherwise the rows are inputs of the graph, and have been compared already
        error, excess = _bag_error(folder, bags, embeddings.bag(bags))
        _require(excess <= 0, f"{rows_file(EMBEDDINGS_STEM)} against the run: error of a bag", error, error - excess)
    if checkpoint.reranker is not None:
        inputs["bag_tilde"] = Embeddings.of(checkpoint.reranker.embeddings).bag(bags)
    return run_encoder((folder / ENCODER_FILE).read_bytes(), inputs)


def _bag_error(folder: Path, bags: Bags, expected_RD: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest error of a bag of stored embeddings, and the largest excess over the error of rounding."""
    rows_VD, scales_V = _load(folder, rows_file(EMBEDDINGS_STEM)), NO_SCALES
    limits_R = np.full(len(bags), np.finfo(np.float32).tiny, np.float64)
    if (folder / scales_file(EMBEDDINGS_STEM)).exists():
        scales_V = _load(folder, scales_file(EMBEDDINGS_STEM))
        steps_T = np.abs(bags.weights) * scales_V[bags.ids]
        queries_T = np.repeat(np.arange(len(bags)), bags.lengths())
        limits_R += _HALF_STEP * np.bincount(queries_T, steps_T, minlength=len(bags))
    errors_RD = np.abs(Embeddings(rows_VD, scales_V).bag(bags) - expected_RD)
    return float(errors_RD.max()), float((errors_RD - limits_R[:, None]).max())


def _relative_error(actual_RD: NDArray[np.float32], expected_RD: NDArray[np.float32]) -> float:
    scale_R = np.maximum(np.abs(expected_RD).max(axis=1, keepdims=True), _FLOAT32_EPSILON)
    return float((np.abs(actual_RD - expected_RD) / scale_R).max())


def _logit_error(checkpoint: Checkpoint, folder: Path, x_hat_RD: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest error of a logit, and the largest excess over the tolerance and the error of rounding."""
    reference = checkpoint.reference
    rows_RKD = _load(folder, rows_file(CLASSIFIER_STEM))[reference.labels].astype(np.float32)
    limits_RK = np.full(reference.labels.shape, LOGIT_TOLERANCE)
    if (folder / scales_file(CLASSIFIER_STEM)).exists():
        scales_RK = _load(folder, scales_file(CLASSIFIER_STEM))[reference.labels]
        rows_RKD *= scales_RK[:, :, None]
        limits_RK = limits_RK + 0.5 * scales_RK * np.abs(x_hat_RD).sum(axis=1, keepdims=True)
    bias_RK = _load(folder, bias_file(CLASSIFIER_STEM))[reference.labels]
    logits_RK = np.einsum("rkd,rd->rk", rows_RKD, x_hat_RD) + bias_RK
    errors_RK = np.abs(logits_RK - reference.logits)
    return float(errors_RK.max()), float((errors_RK - limits_RK).max())


def _load(folder: Path, name: str) -> NDArray[np.float32]:
    return np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))


def _require(passed: bool, gate: str, figure: float, limit: float) -> None:
    if not passed:
        raise VerificationError(f"{gate} is {figure:.3g}, the limit is {limit:.3g}. Nothing was published")
