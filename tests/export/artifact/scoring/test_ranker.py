"""The kernel for all parts of a score, compared with a kernel for each part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import quantize_int8
from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.scoring.ranker import LabelWeights, Ranker
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.scoring.shares import PartWeights, Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates, Shortlist
from astec.export.artifact.shortlist.representatives import Representatives, best_similarities
from astec.export.artifact.text.bags import Bags

DIM, NUM_LABELS, NUM_FEATURES, TOP_K = 24, 30, 50, 5


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def weights_of(rng: np.random.Generator, *, int8: bool) -> LabelWeights:
    weights_LD, bias_L = normal(rng, NUM_LABELS, DIM), read_only(normal(rng, NUM_LABELS))
    if not int8:
        return read_only(weights_LD), NO_SCALES, bias_L
    codes_LD, scales_L = quantize_int8(weights_LD)
    return read_only(codes_LD), read_only(scales_L), bias_L


def representatives_of(rng: np.random.Generator, *, int8: bool) -> Representatives:
    labels = np.sort(np.concatenate([np.arange(NUM_LABELS), rng.integers(0, NUM_LABELS, 6)])).astype(np.int32)
    vectors = normal(rng, len(labels), DIM)
    mu = Representatives.of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels, NUM_LABELS)
    if not int8:
        return Representatives(read_only(mu.indptr), mu.vectors, mu.scales)
    codes, scales = quantize_int8(np.asarray(mu.vectors, np.float32))
    return Representatives(read_only(mu.indptr), read_only(codes), read_only(scales))


def sparse_of(rng: np.random.Generator) -> SparseClassifier:
    u_LV = normal(rng, NUM_LABELS, NUM_FEATURES)
    u_LV[rng.random(u_LV.shape) < 0.7] = 0
    labels, tokens = np.nonzero(u_LV)
    indptr = np.searchsorted(labels, np.arange(NUM_LABELS + 1)).astype(np.int64)
    built = SparseClassifier.build(
        indptr, tokens.astype(np.int32), u_LV[labels, tokens], normal(rng, NUM_LABELS), NUM_FEATURES
    )
    return SparseClassifier(*(read_only(getattr(built, name)) for name in SparseClassifier.__slots__))


def ragged(rng: np.random.Generator, num_queries: int, below: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw distinct numbers for each query, or none at all."""
    rows = [rng.permutation(below)[: rng.integers(0, below)] for _ in range(num_queries)]
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int32), offsets


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    num_queries=st.integers(0, 4),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
    beta=st.sampled_from([0.0, 0.3]),
    gamma=st.sampled_from([0.0, 0.2]),
    int8=st.booleans(),
    compared=st.booleans(),
)
def test_labels_and_scores_are_those_of_the_parts(
    seed: int, num_queries: int, alpha: float, beta: float, gamma: float, int8: bool, compared: bool
) -> None:
    rng = np.random.default_rng(seed)
    weights = Shares(alpha, beta, gamma, 0.1).weights()
    classifier, mu, sparse = weights_of(rng, int8=int8), representatives_of(rng, int8=int8), sparse_of(rng)
    reranker = weights_of(rng, int8=False) if beta else None
    v_BD, x_hat_BD, x_tilde_BD = (normal(rng, num_queries, DIM) for _ in range(3))
    labels_C, offsets = ragged(rng, num_queries, NUM_LABELS)
    shortlist = Shortlist(labels_C, rng.random(len(labels_C)).astype(np.float32), offsets)
    ids, token_offsets = ragged(rng, num_queries, NUM_FEATURES)
    bags = Bags(ids, normal(rng, len(ids)), token_offsets)

    ranker = Ranker(weights, classifier, mu if compared else None, sparse if gamma else None, reranker)
    found = ranker.rank(shortlist, v_BD, x_hat_BD, x_tilde_BD, bags, TOP_K)

    similarities_C = np.zeros(len(labels_C), np.float32)
    if compared:
        similarities_C = best_similarities(labels_C, offsets, v_BD, mu.indptr, mu.vectors, mu.scales)
    candidates = Candidates(labels_C, similarities_C, shortlist.votes, offsets)
    expected: tuple[NDArray[Any], NDArray[Any]] = rank(
        candidates,
        weights,
        TOP_K,
        Classifiers(x_hat_BD, *classifier),
        None if reranker is None else Classifiers(x_tilde_BD, *reranker),
        sparse.logits(candidates, bags) if gamma else None,
    )
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("weights", "name"), [(Shares(1, beta=0.5).weights(), "reranker"), (Shares(1, gamma=0.5).weights(), "sparse")]
)
def test_a_share_of_nothing_is_refused(weights: PartWeights, name: str) -> None:
    classifier = weights_of(np.random.default_rng(0), int8=False)
    with pytest.raises(ValueError, match=f"the share of {name} is 0.5, but it is not given"):
        Ranker(weights, classifier, None, None, None)
