"""Batches of unequal queries through the ONNX encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.artifact.store import Artifact, open_artifact
from server.encoder import Encoder

BATCH_TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def artifact(demo_artifact: Path) -> Artifact:
    return open_artifact(demo_artifact)


@pytest.fixture(scope="module")
def encoder(artifact: Artifact) -> Encoder:
    return Encoder(artifact.encoder_path)


def random_bags(lengths: list[int], num_features: int) -> Bags:
    rng = np.random.default_rng(0)
    total = sum(lengths)
    ids = rng.integers(0, num_features, total).astype(np.int32)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return Bags(ids, rng.uniform(0, 0.3, total).astype(np.float32), offsets)


def one_by_one(encoder: Encoder, bags: Bags) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    alone = [encoder.encode(bags.take(np.array([row]))) for row in range(len(bags))]
    return np.concatenate([v for v, _ in alone]), np.concatenate([x_hat for _, x_hat in alone])


@pytest.mark.parametrize(
    "lengths",
    [
        [3],
        [0],
        [0, 0, 0],
        [1, 2, 3, 4, 5],
        # A long query among short ones is padded apart from them.
        [5] * 200 + [3_000] + [0, 1] + [40] * 3,
    ],
    ids=["one", "empty", "all-empty", "like", "unequal"],
)
def test_a_batch_is_its_queries_one_by_one(artifact: Artifact, encoder: Encoder, lengths: list[int]) -> None:
    bags = random_bags(lengths, artifact.featurizer.num_features)
    v_BD, x_hat_BD = encoder.encode(bags)
    v_alone_BD, x_hat_alone_BD = one_by_one(encoder, bags)
    dim = artifact.manifest.dimensions.dim
    assert v_BD.shape == x_hat_BD.shape == (len(lengths), dim)
    scale = max(float(x_hat_alone_BD.max()), 1.0)
    assert np.abs(v_BD - v_alone_BD).max() <= BATCH_TOLERANCE * scale
    assert np.abs(x_hat_BD - x_hat_alone_BD).max() <= BATCH_TOLERANCE * scale
    assert not v_BD[np.array(lengths) == 0].any()
    assert v_BD[np.array(lengths) > 0].any(axis=1).all()


def test_no_queries_at_all(artifact: Artifact, encoder: Encoder) -> None:
    v_BD, x_hat_BD = encoder.encode(random_bags([], artifact.featurizer.num_features))
    assert v_BD.shape == x_hat_BD.shape == (0, artifact.manifest.dimensions.dim)
