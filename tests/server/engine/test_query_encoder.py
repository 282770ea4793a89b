"""Batches of unequal queries through the encoder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.engine.query_encoder import QueryEncoder, Representations


@pytest.fixture(scope="module", params=[(1, 0, None), (3, 0, 8), (1, 24, 8), (3, 24, None)], ids=str)
def artifact(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    """Artifacts of one or three learners, without or with a re-ranker of 24 dimensions, searched by v or z."""
    learners, reranker_dim, shortlist_dim = request.param
    path = tmp_path_factory.mktemp("encoder") / "artifact"
    checkpoint = make_checkpoint(learners=learners, reranker_dim=reranker_dim)
    pack(checkpoint, build_indices(checkpoint, dim=shortlist_dim), path, name="demo")
    return open_artifact(path)


@pytest.fixture(scope="module")
def encoder(artifact: Artifact) -> QueryEncoder:
    return QueryEncoder(artifact)


def random_bags(lengths: list[int], num_features: int) -> Bags:
    rng = np.random.default_rng(0)
    total = sum(lengths)
    ids = rng.integers(0, num_features, total).astype(np.int32)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return Bags(ids, rng.uniform(0, 0.3, total).astype(np.float32), offsets)


def one_by_one(encoder: QueryEncoder, bags: Bags) -> Representations:
    alone = [encoder.encode(bags.take(np.array([row]))) for row in range(len(bags))]
    return Representations(*(np.concatenate(parts) for parts in zip(*alone, strict=True)))


@pytest.mark.parametrize(
    "lengths",
    [
        [3],
        [0],
        [0, 0, 0],
        [1, 2, 3, 4, 5],
        [5] * 200 + [3_000] + [0, 1] + [40] * 3,
    ],
    ids=["one", "empty", "all-empty", "like", "unequal"],
)
def test_a_batch_is_its_queries_bit_for_bit(artifact: Artifact, encoder: QueryEncoder, lengths: list[int]) -> None:
    bags = random_bags(lengths, artifact.featurizer.num_features)
    together, alone = encoder.encode(bags), one_by_one(encoder, bags)
    sizes = artifact.manifest.dimensions
    assert together.v.shape == together.x_hat.shape == (len(lengths), sizes.dim)
    assert together.z.shape == (len(lengths), sizes.shortlist_dim)
    assert together.x_tilde.shape == (len(lengths), sizes.reranker_dim)
    for one_BD, other_BD in zip(together, alone, strict=True):
        assert np.array_equal(one_BD, other_BD)
        assert not one_BD[np.array(lengths) == 0].any()
    assert together.v[np.array(lengths) > 0].any(axis=1).all()


def test_single_queries_of_two_threads_do_not_meet(artifact: Artifact, encoder: QueryEncoder) -> None:
    bags = random_bags([4, 9], artifact.featurizer.num_features)
    mine, other = (bags.take(np.array([row])) for row in range(2))
    found = encoder.encode(mine)
    before = [part.copy() for part in found]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(encoder.encode, other).result()
    for part, part_before in zip(found, before, strict=True):
        assert np.array_equal(part, part_before)


def test_no_queries_at_all(artifact: Artifact, encoder: QueryEncoder) -> None:
    v_BD, z_Bd, x_hat_BD, x_tilde_BD = encoder.encode(random_bags([], artifact.featurizer.num_features))
    sizes = artifact.manifest.dimensions
    assert v_BD.shape == x_hat_BD.shape == (0, sizes.dim)
    assert z_Bd.shape == (0, sizes.shortlist_dim)
    assert x_tilde_BD.shape == (0, sizes.reranker_dim)


@pytest.fixture
def with_head(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> Artifact:
    checkpoint = make_checkpoint(learners=3)
    pack(checkpoint, build_indices(checkpoint, dim=8), tmp_path / "artifact", name="demo")
    return open_artifact(tmp_path / "artifact")


def test_the_kernel_and_the_graph_encode_alike(with_head: Artifact) -> None:
    bags = random_bags([3, 0, 40, 1], with_head.featurizer.num_features)
    graph = QueryEncoder(replace(with_head, head=None))
    for kernel_BD, graph_BD in zip(QueryEncoder(with_head).encode(bags), graph.encode(bags), strict=True):
        np.testing.assert_allclose(kernel_BD, graph_BD, rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", ["residual", "projection"])
def test_a_head_that_is_not_that_of_the_graph(with_head: Artifact, part: str) -> None:
    assert with_head.head is not None
    rows = getattr(with_head.head, part).copy()
    rows[-1, -1] += 0.1
    damaged = replace(with_head.head, **{part: read_only(rows)})
    with pytest.raises(ArtifactError, match=r"head\.residual\.npy or head\.projection\.npy in .* is not that of enc"):
        QueryEncoder(replace(with_head, head=damaged))
