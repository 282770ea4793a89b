"""Each gate lets the true artifact pass, and closes where its part was tampered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.artifact.index import HnswIndex, HnswParams
from export.artifact.labels import TextTable
from export.artifact.store import FILES
from export.checkpoint import Checkpoint, DenseArrays
from export.onnx_encoder import write_encoder
from export.pack import pack
from export.verify import ENCODER_TOLERANCE, MIN_RECALL, VerificationError, recall_of, verify_files_against

POOR = HnswParams(m=2, ef_construction=1, ef_search=1)


def refusal(checkpoint: Checkpoint, folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_files_against(checkpoint, folder)
    return str(caught.value)


def rewrite_encoder(folder: Path, model: DenseArrays, reranker: DenseArrays | None) -> None:
    for name in (FILES.encoder, FILES.encoder_weights):
        (folder / name).unlink()
    write_encoder(folder / FILES.encoder, FILES.encoder_weights, model, reranker)


def multiply(arrays: DenseArrays, *, embeddings: float = 1, last_residual: float = 1) -> DenseArrays:
    """The arrays, all embeddings and the residual of the last learner multiplied."""
    residuals = arrays.residuals.copy()
    residuals[-1] *= last_residual
    return replace(arrays, embeddings=arrays.embeddings * np.float32(embeddings), residuals=residuals)


def test_the_true_artifact_passes(full_checkpoint: Checkpoint, full_artifact: Path) -> None:
    report = verify_files_against(full_checkpoint, full_artifact)
    assert report.texts == len(full_checkpoint.reference.v) > 50
    assert min(report.centroid_recall, report.point_recall) >= MIN_RECALL


@pytest.mark.parametrize("factors", [{"embeddings": 1.01}, {"last_residual": 0.0}, {"last_residual": float("nan")}])
@pytest.mark.parametrize("part", ["model", "reranker"])
def test_an_encoder_that_is_not_the_runs(
    full_checkpoint: Checkpoint, artifact_copy: Path, part: str, factors: dict[str, float]
) -> None:
    parts = {"model": full_checkpoint.model, "reranker": full_checkpoint.reranker}
    rewrite_encoder(artifact_copy, **parts | {part: multiply(parts[part], **factors)})
    assert "ONNX against torch: relative error is" in refusal(full_checkpoint, artifact_copy)


@pytest.mark.parametrize("name", [FILES.classifier, FILES.classifier_bias, FILES.reranker, FILES.reranker_bias])
def test_a_weight_tampered_with(full_checkpoint: Checkpoint, artifact_copy: Path, name: str) -> None:
    weights = np.load(artifact_copy / name)
    weights.flat[-1] = np.nextafter(weights.flat[-1], np.float32(np.inf))
    np.save(artifact_copy / name, weights)
    assert refusal(full_checkpoint, artifact_copy).startswith(f"{name} does not read back as it was written")


def test_labels_in_another_order(full_checkpoint: Checkpoint, artifact_copy: Path) -> None:
    TextTable.from_texts(full_checkpoint.labels[::-1]).save(artifact_copy, FILES.labels)
    assert refusal(full_checkpoint, artifact_copy).startswith("labels does not read back")


def test_classifiers_that_do_not_give_the_runs_logits(full_checkpoint: Checkpoint, full_artifact: Path) -> None:
    reference = full_checkpoint.reference
    shifted = replace(full_checkpoint, reference=replace(reference, logits=reference.logits + np.float32(0.01)))
    assert "error of a logit is 0.01, the limit is 0.001" in refusal(shifted, full_artifact)


@pytest.mark.parametrize("name", ["centroids", "points"])
def test_a_graph_with_poor_parameters(full_checkpoint: Checkpoint, artifact_copy: Path, name: str) -> None:
    poor = HnswIndex.build(getattr(full_checkpoint, name).vectors(), POOR, seed=0)
    poor.save(artifact_copy / f"{name}.hnsw")
    message = refusal(replace(full_checkpoint, **{name: poor}), artifact_copy)
    assert message.startswith(f"{name}.hnsw against exact search: recall@10 is")


def test_a_model_of_one_learner_and_no_other_part(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(parts=False)
    report = pack(checkpoint, tmp_path / "artifact", "demo", None)
    assert report.encoder_error <= ENCODER_TOLERANCE
    shifted = replace(checkpoint.reference, x_hat=checkpoint.reference.x_hat + np.float32(0.01))
    assert "ONNX against torch" in refusal(replace(checkpoint, reference=shifted), tmp_path / "artifact")


def test_recall_of_equal_vectors_is_whole() -> None:
    equal = HnswIndex.build(np.ones((50, 4), np.float32), HnswParams(16, 100, 100), seed=0)
    assert recall_of(equal, np.eye(4, dtype=np.float32), 10) == 1.0


def test_recall_without_a_query_is_whole(full_checkpoint: Checkpoint) -> None:
    dim = full_checkpoint.model.embeddings.shape[1]
    assert recall_of(full_checkpoint.points, np.empty((0, dim), np.float32), 10) == 1.0
