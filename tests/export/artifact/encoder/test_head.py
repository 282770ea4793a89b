"""The kernel after a bag of embeddings against numpy, and the files that it lies in.

Shapes: B queries, D dimensions, H learners, d dimensions of the indices.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.encoder.head import Head, apply_head
from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from tests.artifact_files import FILES

Reseal = Callable[..., None]
Damage = Callable[[Any], Any]
SHORTLIST_DIM = 8


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32),
    num_queries=st.integers(0, 5),
    learners=st.integers(1, 3),
    block=st.integers(1, 30),
    width=st.integers(0, 20),
)
def test_it_is_relu_residual_and_projection(seed: int, num_queries: int, learners: int, block: int, width: int) -> None:
    rng, dim = np.random.default_rng(seed), learners * block
    bag_BD = rng.standard_normal((num_queries, dim)).astype(np.float32)
    residuals_HDD = rng.standard_normal((learners, block, block)).astype(np.float32)
    projection_Dd = rng.standard_normal((dim, width)).astype(np.float32) if width else None
    v_BD, z_Bd, x_hat_BD = apply_head(bag_BD, *Head.of(residuals_HDD, projection_Dd).arrays())
    np.testing.assert_array_equal(v_BD, np.maximum(bag_BD, 0))
    wide_v_BD = v_BD.astype(np.float64)
    expected_z_Bd = v_BD if projection_Dd is None else wide_v_BD @ projection_Dd
    np.testing.assert_allclose(z_Bd, expected_z_Bd, rtol=0, atol=1e-4)
    for learner, residual_DD in enumerate(residuals_HDD):
        own = np.s_[:, learner * block : (learner + 1) * block]
        moved_BD = np.maximum(wide_v_BD[own] @ residual_DD.T, 0)
        np.testing.assert_allclose(x_hat_BD[own], wide_v_BD[own] + moved_BD, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 16, 301])
def test_a_query_is_the_same_to_the_last_bit_in_any_batch(dim: int) -> None:
    rng = np.random.default_rng(0)
    bag_BD = rng.uniform(0, 1, (5, dim)).astype(np.float32)
    bag_BD[3] = 0
    head = Head.of(rng.standard_normal((1, dim, dim)).astype(np.float32), rng.standard_normal((dim, 7), np.float32))
    together = apply_head(bag_BD, *head.arrays())
    for row in range(len(bag_BD)):
        for whole, alone in zip(together, apply_head(bag_BD[row : row + 1], *head.arrays()), strict=True):
            assert np.array_equal(whole[row], alone[0])
            assert whole[row].any() == (row != 3)


@pytest.fixture(scope="module")
def head_artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    checkpoint, path = make_checkpoint(learners=3), tmp_path_factory.mktemp("head") / "artifact"
    pack(checkpoint, build_indices(checkpoint, dim=SHORTLIST_DIM), path, name="demo")
    return path


@pytest.fixture
def copy(head_artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(head_artifact, tmp_path / "copy")


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    return str(caught.value)


def test_it_is_read_back_as_it_was_trained(head_artifact: Path, make_checkpoint: Callable[..., Checkpoint]) -> None:
    head, residuals_HDD = open_artifact(head_artifact).head, make_checkpoint(learners=3).model.residuals
    assert head is not None
    assert np.array_equal(head.residual, np.concatenate([residual_DD.T for residual_DD in residuals_HDD]))
    assert head.projection.shape == (len(head.residual), SHORTLIST_DIM)


def test_an_artifact_with_a_reranker_has_none(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(reranker_dim=24)
    pack(checkpoint, build_indices(checkpoint), tmp_path / "artifact", name="demo")
    assert open_artifact(tmp_path / "artifact").head is None
    assert not (tmp_path / "artifact" / FILES.head_residual).exists()


@pytest.mark.parametrize("name", [FILES.head_residual, FILES.head_projection])
def test_a_file_that_is_missing(copy: Path, reseal: Reseal, name: str) -> None:
    (copy / name).unlink()
    reseal(copy)
    assert name in refusal(copy)


@pytest.mark.parametrize("name", [FILES.head_residual, FILES.head_projection])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda rows: rows[1:], "has shape"),
        (lambda rows: rows[:, 1:], "has shape"),
        (lambda rows: rows.astype(np.float64), "is float64, not float32"),
        (lambda rows: np.where(rows == rows.max(), np.nan, rows), "holds NaN or infinity"),
        (lambda rows: np.where(rows == rows.max(), -np.inf, rows), "holds NaN or infinity"),
        (np.asfortranarray, "is in the order of Fortran"),
    ],
    ids=["a row less", "a column less", "float64", "NaN", "infinity", "Fortran"],
)
def test_arrays_that_cannot_be(copy: Path, reseal: Reseal, name: str, damage: Damage, problem: str) -> None:
    np.save(copy / name, damage(np.load(copy / name)))
    reseal(copy)
    assert f"{name} {problem}" in refusal(copy)


def test_an_encoder_that_reads_no_bag(copy: Path, reseal: Reseal) -> None:
    def say_vector(manifest: dict[str, Any]) -> None:
        manifest["encoder"]["reads"] = "vector"

    reseal(copy, say_vector)
    assert "head is true, but the encoder reads vector, no bag" in refusal(copy)
