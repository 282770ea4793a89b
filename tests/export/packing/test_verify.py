"""Each gate lets the true artifact pass, and closes where its part was tampered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.index.base import HnswParams, StoredIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.labels.text_table import TextTable
from astec.export.model.checkpoint import Checkpoint, DenseArrays
from astec.export.model.encoder_graph import run_encoder, write_encoder
from astec.export.packing.pack import pack
from astec.export.packing.verify import (
    ENCODER_TOLERANCE,
    LOGIT_TOLERANCE,
    MIN_RECALL,
    VerificationError,
    recall_of,
    verify_files_against,
)
from astec.export.search.indices import Indices
from astec.export.search.plan import Side
from tests.artifact_files import FILES

POOR = HnswParams(m=2, ef_construction=1, ef_search=1)


def refusal(checkpoint: Checkpoint, indices: Indices, folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_files_against(checkpoint, indices, folder)
    return str(caught.value)


def rewrite_encoder(
    folder: Path, model: DenseArrays, reranker: DenseArrays | None, projection: NDArray[np.float32] | None
) -> None:
    (folder / FILES.encoder).unlink()
    write_encoder(folder / FILES.encoder, model, reranker, projection)


def multiply_last_residual(arrays: DenseArrays, factor: float) -> DenseArrays:
    """The arrays, the residual of the last learner multiplied."""
    residuals = arrays.residuals.copy()
    residuals[-1] *= factor
    return replace(arrays, residuals=residuals)


@pytest.mark.parametrize("artifact", ["full_artifact", "int8_artifact"])
def test_the_true_artifact_passes(
    full_checkpoint: Checkpoint, full_indices: Indices, request: pytest.FixtureRequest, artifact: str
) -> None:
    report = verify_files_against(full_checkpoint, full_indices, request.getfixturevalue(artifact))
    assert report.texts == len(full_checkpoint.reference.v) > 50
    assert report.recalls.keys() == {"centroids", "points"}
    assert min(report.recalls.values()) >= MIN_RECALL
    assert report.encoder_error <= ENCODER_TOLERANCE
    assert (report.logit_error <= LOGIT_TOLERANCE) == (artifact == "full_artifact")


@pytest.mark.parametrize("factor", [0.0, 1.01, float("nan")])
@pytest.mark.parametrize("part", ["model", "reranker"])
def test_an_encoder_that_is_not_the_runs(
    full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path, part: str, factor: float
) -> None:
    parts: dict[str, Any] = {"model": full_checkpoint.model, "reranker": full_checkpoint.reranker}
    rewrite_encoder(
        artifact_copy,
        **parts | {part: multiply_last_residual(parts[part], factor)},
        projection=full_indices.projection,
    )
    assert "ONNX against torch: relative error is" in refusal(full_checkpoint, full_indices, artifact_copy)


def test_a_projection_that_is_not_the_indices(
    full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path
) -> None:
    assert full_indices.projection is not None
    mirrored = full_indices.projection * np.where(np.arange(24) == 7, -1, 1).astype(np.float32)
    rewrite_encoder(artifact_copy, full_checkpoint.model, full_checkpoint.reranker, mirrored)
    assert "ONNX against torch: relative error is" in refusal(full_checkpoint, full_indices, artifact_copy)


def test_what_the_indices_are_searched_with_is_v_times_the_projection(
    full_checkpoint: Checkpoint, full_indices: Indices, full_artifact: Path
) -> None:
    bags = full_checkpoint.reference.bags
    assert full_checkpoint.reranker is not None
    inputs: dict[str, Any] = {
        "bag": Embeddings.of(full_checkpoint.model.embeddings).bag(bags),
        "bag_tilde": Embeddings.of(full_checkpoint.reranker.embeddings).bag(bags),
    }
    encoded = run_encoder((full_artifact / FILES.encoder).read_bytes(), inputs)
    v_RD, z_Rd = encoded["v"], encoded["z"]
    assert full_indices.projection is not None
    np.testing.assert_allclose(z_Rd, v_RD @ full_indices.projection, atol=1e-4)
    assert z_Rd.shape == (len(v_RD), 24)
    assert not z_Rd[-1].any()


@pytest.mark.parametrize(
    "name",
    [
        FILES.embeddings,
        FILES.classifier,
        FILES.classifier_bias,
        FILES.representatives,
        FILES.reranker_embeddings,
        FILES.reranker,
        FILES.reranker_bias,
    ],
)
def test_a_weight_tampered_with(
    full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path, name: str
) -> None:
    weights = np.load(artifact_copy / name)
    weights.flat[-1] = np.nextafter(weights.flat[-1], np.float32(np.inf))
    np.save(artifact_copy / name, weights)
    message = refusal(full_checkpoint, full_indices, artifact_copy)
    assert message.startswith(f"{name} does not read back as it was written")


@pytest.mark.parametrize(
    ("name", "scales_name"),
    [
        (FILES.embeddings, FILES.embeddings_scales),
        (FILES.classifier, FILES.classifier_scales),
        (FILES.representatives, FILES.representatives_scales),
    ],
)
@pytest.mark.parametrize("factor", [0, 0.99, 1.01, -1])
def test_a_scale_tampered_with(
    full_checkpoint: Checkpoint, full_indices: Indices, int8_copy: Path, name: str, scales_name: str, factor: float
) -> None:
    scales = np.load(int8_copy / scales_name)
    scales[3] *= np.float32(factor)
    np.save(int8_copy / scales_name, scales)
    message = refusal(full_checkpoint, full_indices, int8_copy)
    assert message.startswith(f"{name} does not read back as it was written")


@pytest.mark.parametrize("name", [FILES.embeddings, FILES.classifier, FILES.representatives])
def test_a_code_tampered_with(full_checkpoint: Checkpoint, full_indices: Indices, int8_copy: Path, name: str) -> None:
    codes = np.load(int8_copy / name)
    codes[3, 3] += np.int8(1 if codes[3, 3] < 100 else -1)
    np.save(int8_copy / name, codes)
    message = refusal(full_checkpoint, full_indices, int8_copy)
    assert message.startswith(f"{name} does not read back as it was written")


def test_scales_of_rows_that_were_never_rounded(
    full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path
) -> None:
    """Each row reads back as it was written, and yet the bags are not the run's."""
    scales_V = np.full(len(full_checkpoint.model.embeddings), 100, np.float32)
    np.save(artifact_copy / FILES.embeddings_scales, scales_V)
    message = refusal(full_checkpoint, full_indices, artifact_copy)
    assert message.startswith(f"{FILES.embeddings} against the run: error of a bag is")


def test_labels_in_another_order(full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path) -> None:
    TextTable.from_texts(full_checkpoint.labels[::-1]).save(artifact_copy, FILES.labels)
    assert refusal(full_checkpoint, full_indices, artifact_copy).startswith("labels does not read back")


def test_classifiers_that_do_not_give_the_runs_logits(
    full_checkpoint: Checkpoint, full_indices: Indices, full_artifact: Path
) -> None:
    reference = full_checkpoint.reference
    shifted = replace(full_checkpoint, reference=replace(reference, logits=reference.logits + np.float32(0.01)))
    assert "error of a logit is 0.01, the limit is 0.001" in refusal(shifted, full_indices, full_artifact)


def test_rounding_excuses_no_larger_error_than_its_own(
    full_checkpoint: Checkpoint, full_indices: Indices, int8_artifact: Path
) -> None:
    """In int8 a logit may be off by half a step of its row times the sum of x-hat."""
    reference = full_checkpoint.reference
    scales_RK = np.load(int8_artifact / FILES.classifier_scales)[reference.labels]
    bounds_RK = 0.5 * scales_RK * np.abs(reference.x_hat).sum(axis=1, keepdims=True)
    for factor, passes in ((0.0, True), (2.5, False)):
        shifted = replace(reference, logits=reference.logits + np.float32(factor) * bounds_RK)
        checkpoint = replace(full_checkpoint, reference=shifted)
        if passes:
            verify_files_against(checkpoint, full_indices, int8_artifact)
        else:
            assert "error of a logit is" in refusal(checkpoint, full_indices, int8_artifact)


@pytest.mark.parametrize("side", ["centroids", "points"])
def test_a_graph_with_poor_parameters(
    full_checkpoint: Checkpoint, full_indices: Indices, artifact_copy: Path, side: Side
) -> None:
    index: StoredIndex | None = full_indices.sides()[side]
    assert index is not None
    HnswIndex.build(index.vectors(), POOR, seed=0).save(artifact_copy / f"{side}.index")
    poor: dict[str, Any] = {side: replace(full_indices.plan.sides()[side], params=POOR)}
    plan = replace(full_indices.plan, **poor)
    message = refusal(full_checkpoint, replace(full_indices, plan=plan), artifact_copy)
    assert message.startswith(f"{side}.index against exact search: recall@10 is")


def test_a_model_of_one_learner_and_no_other_part(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(parts=False)
    indices = build_indices(checkpoint, kind="points")
    report = pack(checkpoint, indices, tmp_path / "artifact", "demo")
    assert report.encoder_error <= ENCODER_TOLERANCE
    assert report.recalls.keys() == {"points"}
    shifted = replace(checkpoint.reference, x_hat=checkpoint.reference.x_hat + np.float32(0.01))
    assert "ONNX against torch" in refusal(replace(checkpoint, reference=shifted), indices, tmp_path / "artifact")


def test_recall_of_equal_vectors_is_whole() -> None:
    equal = HnswIndex.build(np.ones((50, 4), np.float32), HnswParams(16, 100, 100), seed=0)
    assert recall_of(equal, np.eye(4, dtype=np.float32), 10) == 1.0


def test_recall_without_a_query_is_whole() -> None:
    index = HnswIndex.build(np.eye(4, dtype=np.float32), POOR, seed=0)
    assert recall_of(index, np.empty((0, 4), np.float32), 10) == 1.0
