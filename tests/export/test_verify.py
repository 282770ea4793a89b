"""Each gate lets the true artifact pass, and closes where its part was tampered with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.artifact.index import HnswIndex, HnswParams
from export.artifact.labels import TextTable
from export.artifact.store import FILES
from export.checkpoint import Checkpoint
from export.onnx_encoder import write_encoder
from export.verify import MIN_RECALL, VerificationError, recall_of, verify_files_against

POOR = HnswParams(m=2, ef_construction=1, ef_search=1)


def refusal(checkpoint: Checkpoint, folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_files_against(checkpoint, folder)
    return str(caught.value)


def rewrite_encoder(folder: Path, checkpoint: Checkpoint, *, embeddings: float = 1, residual: float = 1) -> None:
    """The encoder again, its arrays multiplied."""
    for name in (FILES.encoder, FILES.encoder_weights):
        (folder / name).unlink()
    model = checkpoint.model
    write_encoder(
        folder / FILES.encoder,
        FILES.encoder_weights,
        model.embeddings * np.float32(embeddings),
        model.residual * np.float32(residual),
    )


def test_the_true_artifact_passes(demo_checkpoint: Checkpoint, demo_artifact: Path) -> None:
    report = verify_files_against(demo_checkpoint, demo_artifact)
    assert report.texts == len(demo_checkpoint.reference.v) > 50
    assert min(report.centroid_recall, report.point_recall) >= MIN_RECALL


@pytest.mark.parametrize("factors", [{"embeddings": 1.01}, {"residual": 0.0}, {"residual": float("nan")}])
def test_an_encoder_that_is_not_the_runs(
    demo_checkpoint: Checkpoint, artifact_copy: Path, factors: dict[str, float]
) -> None:
    rewrite_encoder(artifact_copy, demo_checkpoint, **factors)
    assert "ONNX against torch: relative error is" in refusal(demo_checkpoint, artifact_copy)


@pytest.mark.parametrize("name", [FILES.classifier, FILES.classifier_bias])
def test_a_weight_tampered_with(demo_checkpoint: Checkpoint, artifact_copy: Path, name: str) -> None:
    weights = np.load(artifact_copy / name)
    weights.flat[-1] = np.nextafter(weights.flat[-1], np.float32(np.inf))
    np.save(artifact_copy / name, weights)
    assert refusal(demo_checkpoint, artifact_copy).startswith(f"{name} does not read back as it was written")


def test_labels_in_another_order(demo_checkpoint: Checkpoint, artifact_copy: Path) -> None:
    TextTable.from_texts(demo_checkpoint.labels[::-1]).save(artifact_copy, FILES.labels)
    assert refusal(demo_checkpoint, artifact_copy).startswith("labels does not read back")


def test_classifiers_that_do_not_give_the_runs_logits(demo_checkpoint: Checkpoint, demo_artifact: Path) -> None:
    reference = demo_checkpoint.reference
    shifted = replace(demo_checkpoint, reference=replace(reference, logits=reference.logits + np.float32(0.01)))
    assert "error of a logit is 0.01, the limit is 0.001" in refusal(shifted, demo_artifact)


@pytest.mark.parametrize("name", ["centroids", "points"])
def test_a_graph_with_poor_parameters(demo_checkpoint: Checkpoint, artifact_copy: Path, name: str) -> None:
    poor = HnswIndex.build(getattr(demo_checkpoint, name).vectors(), POOR, seed=0)
    poor.save(artifact_copy / f"{name}.hnsw")
    message = refusal(replace(demo_checkpoint, **{name: poor}), artifact_copy)
    assert message.startswith(f"{name}.hnsw against exact search: recall@10 is")


def test_recall_of_equal_vectors_is_whole() -> None:
    equal = HnswIndex.build(np.ones((50, 4), np.float32), HnswParams(16, 100, 100), seed=0)
    assert recall_of(equal, np.eye(4, dtype=np.float32), 10) == 1.0


def test_recall_without_a_query_is_whole(demo_checkpoint: Checkpoint) -> None:
    dim = demo_checkpoint.model.residual.shape[0]
    assert recall_of(demo_checkpoint.points, np.empty((0, dim), np.float32), 10) == 1.0
