"""The graph after the embeddings: compared with numpy, and refused where it is too large for ONNX.

Shapes: B queries, D dimensions, d of the indices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.model import onnx_graph
from astec.export.model.checkpoint import Checkpoint, DenseArrays
from astec.export.model.encoder_graph import encoder_graph, run_encoder, write_encoder


def random_bags(dim: int) -> NDArray[np.float32]:
    """Return four bags, of which one is empty."""
    bag_BD = np.random.default_rng(0).standard_normal((4, dim)).astype(np.float32)
    bag_BD[2] = 0
    return bag_BD


def slow(arrays: DenseArrays, bag_BD: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute v and the final representation of one or several learners side by side."""
    v_BD = np.maximum(bag_BD, 0)
    parts = np.split(v_BD, len(arrays.residuals), axis=1)
    moved = [part @ residual.T for part, residual in zip(parts, arrays.residuals, strict=True)]
    return v_BD, v_BD + np.maximum(np.concatenate(moved, axis=1), 0)


@pytest.mark.parametrize("shortlist_dim", [None, 5])
def test_every_representation_of_a_bag(full_checkpoint: Checkpoint, shortlist_dim: int | None) -> None:
    model, reranker = full_checkpoint.model, full_checkpoint.reranker
    assert reranker is not None
    bags: dict[str, Any] = {
        "bag": random_bags(model.embeddings.shape[1]),
        "bag_tilde": random_bags(reranker.embeddings.shape[1]),
    }
    v_BD, x_hat_BD = slow(model, bags["bag"])
    expected = {"v": v_BD, "x_hat": x_hat_BD, "x_tilde": slow(reranker, bags["bag_tilde"])[1]}
    projection_Dd = None
    if shortlist_dim is not None:
        projection_Dd = np.random.default_rng(1).standard_normal((v_BD.shape[1], shortlist_dim)).astype(np.float32)
        expected["z"] = v_BD @ projection_Dd
    encoded = run_encoder(encoder_graph(model, reranker, projection_Dd), bags)
    assert encoded.keys() == expected.keys()
    for name, expected_BD in expected.items():
        np.testing.assert_allclose(encoded[name], expected_BD, rtol=0, atol=1e-5)
        assert not encoded[name][2].any()


def test_matrices_that_onnx_cannot_hold_are_refused_and_nothing_is_written(
    full_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"matrices have \d+ bytes, and an ONNX graph may have 1000: train with a"):
        write_encoder(tmp_path / "encoder.onnx", full_checkpoint.model)
    assert list(tmp_path.iterdir()) == []
