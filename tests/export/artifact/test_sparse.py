"""Logits of the sparse term against a dense reference, and the files that opening refuses.

Shapes: B queries, L labels, V vocabulary, C candidates of all queries together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.artifact.shortlist import Candidates
from export.artifact.sparse import SparseClassifier
from export.artifact.store import FILES, ArtifactError, open_artifact

NUM_LABELS, NUM_FEATURES = 12, 9
Reseal = Callable[..., None]


def random_classifier(rng: np.random.Generator) -> tuple[SparseClassifier, NDArray[np.float32]]:
    """A classifier, some of its labels without a weight, and its weights laid out, [L, V]."""
    u_LV = rng.standard_normal((NUM_LABELS, NUM_FEATURES)).astype(np.float32)
    u_LV[rng.random(u_LV.shape) < 0.6] = 0
    labels, tokens = np.nonzero(u_LV)
    indptr = np.searchsorted(labels, np.arange(NUM_LABELS + 1)).astype(np.int64)
    bias_L = rng.standard_normal(NUM_LABELS).astype(np.float32)
    return SparseClassifier(indptr, tokens.astype(np.int32), u_LV[labels, tokens], bias_L), u_LV


def random_queries(rng: np.random.Generator, num_queries: int) -> tuple[Bags, Candidates]:
    """Queries of any length down to none, with any number of candidates down to none."""
    tokens = [rng.permutation(NUM_FEATURES)[: rng.integers(0, NUM_FEATURES)] for _ in range(num_queries)]
    labels = [rng.permutation(NUM_LABELS)[: rng.integers(0, NUM_LABELS)] for _ in range(num_queries)]
    ids, token_offsets = joined(tokens)
    labels_C, offsets = joined(labels)
    bags = Bags(ids, rng.standard_normal(len(ids)).astype(np.float32), token_offsets)
    return bags, Candidates(labels_C, np.zeros(len(labels_C), np.float32), offsets)


def joined(parts: list[NDArray[np.int64]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    offsets = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int32), *parts]).astype(np.int32), offsets


def dense_logits(
    u_LV: NDArray[np.float32], bias_L: NDArray[np.float32], bags: Bags, candidates: Candidates
) -> list[float]:
    logits: list[float] = []
    for query in range(len(bags)):
        x_V = np.zeros(NUM_FEATURES)
        for token in range(bags.offsets[query], bags.offsets[query + 1]):
            x_V[bags.ids[token]] += bags.weights[token]
        labels = candidates.labels[candidates.offsets[query] : candidates.offsets[query + 1]]
        logits += (u_LV[labels] @ x_V + bias_L[labels]).tolist()
    return logits


@settings(derandomize=True, deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32), num_queries=st.integers(0, 5))
def test_logits_are_those_of_the_dense_product(seed: int, num_queries: int) -> None:
    rng = np.random.default_rng(seed)
    classifier, u_LV = random_classifier(rng)
    bags, candidates = random_queries(rng, num_queries)
    logits_C = classifier.logits(candidates, bags)
    assert logits_C.dtype == np.float32
    assert logits_C.tolist() == pytest.approx(dense_logits(u_LV, classifier.bias, bags, candidates), abs=1e-5)


def test_a_batch_is_its_queries_one_by_one() -> None:
    rng = np.random.default_rng(0)
    classifier, _ = random_classifier(rng)
    bags, candidates = random_queries(rng, 20)
    alone = []
    for query in range(len(bags)):
        begin, end = candidates.offsets[query : query + 2]
        own = Candidates(candidates.labels[begin:end], candidates.similarities[begin:end], np.array([0, end - begin]))
        alone += classifier.logits(own, bags.take(np.array([query]))).tolist()
    assert len(alone) > 50
    assert classifier.logits(candidates, bags).tolist() == alone


def test_an_empty_query_has_the_biases() -> None:
    classifier, _ = random_classifier(np.random.default_rng(1))
    every_label = Candidates(
        np.arange(NUM_LABELS, dtype=np.int32), np.zeros(NUM_LABELS, np.float32), np.array([0, NUM_LABELS])
    )
    empty = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(2, np.int64))
    assert classifier.logits(every_label, empty).tolist() == classifier.bias.tolist()


def test_a_token_that_comes_twice_counts_twice() -> None:
    """As it does for the encoder; a client may send such feature ids."""
    classifier = SparseClassifier(np.array([0, 1]), np.int32([3]), np.float32([2]), np.float32([0.5]))
    bags = Bags(np.int32([3, 3]), np.float32([0.25, 0.5]), np.array([0, 2]))
    candidates = Candidates(np.int32([0]), np.zeros(1, np.float32), np.array([0, 1]))
    assert classifier.logits(candidates, bags).tolist() == [2.0]


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    return str(caught.value)


def test_weights_are_mapped(demo_artifact: Path) -> None:
    sparse = open_artifact(demo_artifact).sparse
    assert sparse is not None
    assert all(isinstance(array.base, np.memmap) for array in (sparse.indptr, sparse.indices, sparse.values))


def test_label_bounds_that_do_not_ascend(artifact_copy: Path, reseal: Reseal) -> None:
    indptr = np.load(artifact_copy / FILES.sparse_indptr)
    indptr[1] = indptr[-1] + 1
    np.save(artifact_copy / FILES.sparse_indptr, indptr)
    reseal(artifact_copy)
    assert f"{FILES.sparse_indptr} does not ascend from 0" in refusal(artifact_copy)


@pytest.mark.parametrize("token", [-1, 1_000_000_000])
def test_a_token_id_out_of_range(artifact_copy: Path, reseal: Reseal, token: int) -> None:
    indices = np.load(artifact_copy / FILES.sparse_indices)
    indices[0] = token
    np.save(artifact_copy / FILES.sparse_indices, indices)
    reseal(artifact_copy)
    message = refusal(artifact_copy)
    assert f"{FILES.sparse_indices}: token ids" in message
    assert str(token) in message


def test_another_number_of_weights_than_the_manifest_says(artifact_copy: Path, reseal: Reseal) -> None:
    def grow(manifest: dict[str, Any]) -> None:
        manifest["scoring"]["sparse_weights"] += 1

    count = open_artifact(artifact_copy).manifest.scoring.sparse_weights
    reseal(artifact_copy, grow)
    assert f"{FILES.sparse_indptr} ends at {count}, not at {count + 1}" in refusal(artifact_copy)


@pytest.mark.parametrize("name", [FILES.sparse_indices, FILES.sparse_values, FILES.sparse_bias])
def test_an_array_of_another_length(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    np.save(artifact_copy / name, np.load(artifact_copy / name)[:-1])
    reseal(artifact_copy)
    assert f"{name} has shape" in refusal(artifact_copy)
