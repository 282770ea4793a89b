"""Properties of the hnswlib backend alone: equal vectors, files cut short, seeds and search width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.hnsw import HnswIndex

DIM = 16


def test_equal_vectors_do_not_fail_the_batch() -> None:
    """With all distances equal the graph has islands, and hnswlib raises when it cannot reach k of the nodes."""
    queries_BD = np.random.default_rng(1).standard_normal((50, DIM), np.float32)
    equal_ND = np.ones((400, DIM), np.float32)
    sparse = HnswIndex.build(equal_ND, HnswParams(m=2, ef_construction=4, ef_search=4), seed=0)
    ids, similarities = sparse.search(queries_BD, 300)
    cosines_B = queries_BD.sum(axis=1) / np.linalg.norm(queries_BD, axis=1) / DIM**0.5
    for row, similarity_K, cosine in zip(ids, similarities, cosines_B, strict=True):
        found = row[row >= 0]
        assert len(found) == len(np.unique(found)) > 0
        assert similarity_K[row >= 0] == pytest.approx(cosine, abs=1e-5)
        assert np.all(similarity_K[row < 0] == -1)
    assert (ids < 0).any()


def test_a_save_that_is_cut_short_says_how_much_was_written() -> None:
    index = HnswIndex.build(np.eye(DIM, dtype=np.float32), HnswParams(8, 10, 10), seed=0)
    with pytest.raises(OSError, match=r"has 0 of \d+ bytes; is the disk full"):
        index.save(Path("/dev/full"))


def test_the_levels_of_a_graph_follow_its_seed(tmp_path: Path) -> None:
    vectors_ND = np.random.default_rng(0).standard_normal((200, DIM), np.float32)
    for seed in (1, 2):
        HnswIndex.build(vectors_ND, HnswParams(8, 20, 20), seed).save(tmp_path / str(seed))
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()


def test_set_to_other_candidates_it_says_so() -> None:
    index = HnswIndex.build(np.eye(DIM, dtype=np.float32), HnswParams(8, 10, 10), seed=0)
    index.search_with(33)
    assert index.params == HnswParams(8, 10, 33)
