"""The gates an artifact passes before it is published, on the very files that will be.

Shapes: R reference texts, D dimensions (of the re-ranker as well, which may have others), K labels of a reference text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.artifact.featurizer import open_featurizer
from export.artifact.index import HnswIndex
from export.artifact.labels import TextTable
from export.artifact.store import FILES
from export.checkpoint import Checkpoint

ENCODER_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-3
MIN_RECALL = 0.9
_RECALL_AT = 10
_FLOAT32_EPSILON = 1e-6


class VerificationError(Exception):
    """An artifact that does not do what its run did; the message names the gate, the figure and the limit."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What the gates measured.

    Attributes:
        encoder_error: largest difference between ONNX and torch, relative to the largest entry of the representation.
        logit_error: largest difference between a logit of the reopened classifiers and the run's.
        centroid_recall: share of the 10 nearest label representatives that the graph finds.
        point_recall: share of the 10 nearest training points that the graph finds.
        texts: reference texts compared.
    """

    encoder_error: float
    logit_error: float
    centroid_recall: float
    point_recall: float
    texts: int


def verify_files_against(checkpoint: Checkpoint, folder: Path) -> VerificationReport:
    """Reopen what was written to `folder` and compare it with the run.

    Raises:
        VerificationError: at the first gate that does not pass.
    """
    _verify_round_trip(checkpoint, folder)
    encoded = _encode(folder / FILES.encoder, checkpoint)
    errors = [_relative_error(actual_RD, getattr(checkpoint.reference, name)) for name, actual_RD in encoded.items()]
    encoder_error = float(np.max(errors))  # Python's own max may lose a NaN
    _require(encoder_error <= ENCODER_TOLERANCE, "ONNX against torch: relative error", encoder_error, ENCODER_TOLERANCE)
    logit_error = _logit_error(checkpoint, folder, encoded["x_hat"])
    _require(
        logit_error <= LOGIT_TOLERANCE, "classifiers against the run: error of a logit", logit_error, LOGIT_TOLERANCE
    )
    v_RD = encoded["v"]
    known_RD = v_RD[v_RD.any(axis=1)]
    dim = v_RD.shape[1]
    recalls = []
    for name, index in ((FILES.centroids, checkpoint.centroids), (FILES.points, checkpoint.points)):
        reopened = HnswIndex.load(folder / name, dim, index.params)
        recalls.append(recall_of(reopened, known_RD, _RECALL_AT))
        _require(
            recalls[-1] >= MIN_RECALL, f"{name} against exact search: recall@{_RECALL_AT}", recalls[-1], MIN_RECALL
        )
    return VerificationReport(encoder_error, logit_error, recalls[0], recalls[1], len(v_RD))


def recall_of(index: HnswIndex, queries_RD: NDArray[np.float32], k: int) -> float:
    """Share of the k nearest vectors that the graph finds, against exact search; 1 where there is no query.

    A hit as near as the k-th exact one counts, because among equal vectors any is right.
    """
    k = min(k, index.count)
    if not len(queries_RD) or not k:
        return 1.0
    _, found_RK = index.search(queries_RD, k)
    units_RD = queries_RD / np.linalg.norm(queries_RD, axis=1, keepdims=True)
    exact_RN = units_RD @ index.vectors().T
    kth_R = -np.partition(-exact_RN, k - 1, axis=1)[:, k - 1]
    return float((found_RK >= kth_R[:, None] - _FLOAT32_EPSILON).mean())


def _verify_round_trip(checkpoint: Checkpoint, folder: Path) -> None:
    """Texts, featurizer and weights must come back as they were."""
    featurizer = open_featurizer(folder)
    equal = {
        FILES.labels: TextTable.open(folder, FILES.labels) == checkpoint.labels,
        "featurizer": featurizer.vocabulary_sha256() == checkpoint.featurizer.vocabulary_sha256(),
    }
    parts = [(checkpoint.model, FILES.classifier, FILES.classifier_bias)]
    if checkpoint.reranker is not None:
        parts.append((checkpoint.reranker, FILES.reranker, FILES.reranker_bias))
    for part, classifier, bias in parts:
        equal[classifier] = np.array_equal(_load(folder, classifier), part.classifier)
        equal[bias] = np.array_equal(_load(folder, bias), part.bias)
    for name, same in equal.items():
        if not same:
            raise VerificationError(f"{name} does not read back as it was written; check the disk and export again")


def _encode(path: Path, checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Every representation that the reference has, by its name there."""
    names = ("v", "x_hat") if checkpoint.reranker is None else ("v", "x_hat", "x_tilde")
    ids_RT, weights_RT = checkpoint.reference.bags.padded()
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(names, {"token_ids": ids_RT, "token_weights": weights_RT})
    return dict(zip(names, outputs, strict=True))


def _relative_error(actual_RD: NDArray[np.float32], expected_RD: NDArray[np.float32]) -> float:
    scale_R = np.maximum(np.abs(expected_RD).max(axis=1, keepdims=True), _FLOAT32_EPSILON)
    return float((np.abs(actual_RD - expected_RD) / scale_R).max())


def _logit_error(checkpoint: Checkpoint, folder: Path, x_hat_RD: NDArray[np.float32]) -> float:
    reference = checkpoint.reference
    weights_RKD = _load(folder, FILES.classifier)[reference.labels]
    logits_RK = np.einsum("rkd,rd->rk", weights_RKD, x_hat_RD) + _load(folder, FILES.classifier_bias)[reference.labels]
    return float(np.abs(logits_RK - reference.logits).max())


def _load(folder: Path, name: str) -> NDArray[np.float32]:
    return np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))


def _require(passed: bool, gate: str, figure: float, limit: float) -> None:
    if not passed:
        raise VerificationError(f"{gate} is {figure:.3g}, the limit is {limit:.3g}. Nothing was published")
