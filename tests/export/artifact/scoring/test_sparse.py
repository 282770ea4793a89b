"""Logits of the sparse term against a dense reference, and the files that opening refuses.

Shapes: B queries, L labels, V vocabulary, C candidates of all queries together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.scoring.sparse import MAX_HEADS, MIN_HEAD_WEIGHTS, SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.verification import ArtifactError
from tests.artifact_files import FILES

NUM_LABELS, NUM_FEATURES = 12, MIN_HEAD_WEIGHTS + 15
MOST_TOKENS = 150
Reseal = Callable[..., None]


def random_classifier(rng: np.random.Generator) -> tuple[SparseClassifier, NDArray[np.float32]]:
    """A classifier whose labels have no, few or many weights, so many that they are head labels; and them, [L, V]."""
    u_LV = rng.standard_normal((NUM_LABELS, NUM_FEATURES)).astype(np.float32)
    u_LV[rng.random(u_LV.shape) >= rng.choice([0, 0.3, 0.8, 1], (NUM_LABELS, 1))] = 0
    labels, tokens = np.nonzero(u_LV)
    indptr = np.searchsorted(labels, np.arange(NUM_LABELS + 1)).astype(np.int64)
    bias_L = rng.standard_normal(NUM_LABELS).astype(np.float32)
    weights = (indptr, tokens.astype(np.int32), u_LV[labels, tokens])
    return SparseClassifier.build(*weights, bias_L, NUM_FEATURES), u_LV


def random_queries(rng: np.random.Generator, num_queries: int) -> tuple[Bags, Candidates]:
    """Queries of any length down to none, tokens coming twice, with any number of candidates down to none."""
    tokens = [rng.integers(0, NUM_FEATURES, rng.integers(0, MOST_TOKENS)) for _ in range(num_queries)]
    labels = [rng.permutation(NUM_LABELS)[: rng.integers(0, NUM_LABELS)] for _ in range(num_queries)]
    ids, token_offsets = joined(tokens)
    labels_C, offsets = joined(labels)
    bags = Bags(ids, rng.standard_normal(len(ids)).astype(np.float32), token_offsets)
    return bags, candidates_of(labels_C, offsets)


def candidates_of(labels: NDArray[np.int32], offsets: NDArray[np.int64]) -> Candidates:
    """With similarities and votes, which do not matter here."""
    zeros_C = np.zeros(len(labels), np.float32)
    return Candidates(labels=labels, similarities=zeros_C, votes=zeros_C, offsets=offsets)


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
    assert logits_C.tolist() == pytest.approx(dense_logits(u_LV, classifier.bias, bags, candidates), abs=1e-4)


def test_a_batch_is_its_queries_one_by_one() -> None:
    rng = np.random.default_rng(0)
    classifier, _ = random_classifier(rng)
    bags, candidates = random_queries(rng, 20)
    alone = []
    for query in range(len(bags)):
        begin, end = candidates.offsets[query : query + 2]
        own = candidates_of(candidates.labels[begin:end], np.array([0, end - begin]))
        alone += classifier.logits(own, bags.take(np.array([query]))).tolist()
    assert len(alone) > 50
    assert classifier.logits(candidates, bags).tolist() == alone


def test_an_empty_query_has_the_biases() -> None:
    classifier, _ = random_classifier(np.random.default_rng(1))
    every_label = candidates_of(np.arange(NUM_LABELS, dtype=np.int32), np.array([0, NUM_LABELS]))
    empty = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(2, np.int64))
    assert (classifier.head >= 0).any()
    assert classifier.logits(every_label, empty).tolist() == classifier.bias.tolist()


@pytest.mark.parametrize("num_weights", [4, MIN_HEAD_WEIGHTS])
def test_a_token_that_comes_twice_counts_twice(num_weights: int) -> None:
    """As it does for the encoder; a client may send such feature ids."""
    tokens, values = np.arange(num_weights, dtype=np.int32), np.full(num_weights, 2, np.float32)
    bias_L = np.array([0.5], np.float32)
    classifier = SparseClassifier.build(np.array([0, num_weights]), tokens, values, bias_L, num_weights)
    bags = Bags(np.array([3, 3], np.int32), np.array([0.25, 0.5], np.float32), np.array([0, 2]))
    assert classifier.head.tolist() == [0 if num_weights == MIN_HEAD_WEIGHTS else -1]
    assert classifier.logits(candidates_of(np.zeros(1, np.int32), np.array([0, 1])), bags).tolist() == [2.0]


def test_labels_of_many_weights_are_the_head() -> None:
    sizes_L = np.array([0, MIN_HEAD_WEIGHTS, 3, MIN_HEAD_WEIGHTS - 1, MIN_HEAD_WEIGHTS + 2])
    tokens = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes_L])
    indptr = np.concatenate([[0], np.cumsum(sizes_L)])
    values = np.arange(len(tokens), dtype=np.float32)
    classifier = SparseClassifier.build(indptr, tokens, values, np.zeros(5, np.float32), NUM_FEATURES)
    assert classifier.head.tolist() == [-1, 0, -1, -1, 1]
    assert np.diff(classifier.indptr).tolist() == [0, 0, 3, MIN_HEAD_WEIGHTS - 1, 0]
    assert np.diff(classifier.posting_indptr).tolist() == [2] * MIN_HEAD_WEIGHTS + [1, 1] + [0] * 13
    assert classifier.posting_heads[:4].tolist() == [0, 1, 0, 1]
    assert classifier.num_weights == len(tokens)
    assert sorted([*classifier.values, *classifier.posting_values]) == values.tolist()
    dtypes = [getattr(classifier, field.name).dtype.name for field in fields(SparseClassifier)]
    assert dtypes == ["int64", "int32", "float32", "uint64", "float32", "int32", "int64", "uint16", "float32"]


@pytest.mark.parametrize("seed", range(4))
def test_weights_come_back_by_label(seed: int) -> None:
    """Those of the head, which lie by token, as well."""
    classifier, u_LV = random_classifier(np.random.default_rng(seed))
    indptr, tokens, values = classifier.by_label()
    labels, expected_tokens = np.nonzero(u_LV)
    assert indptr.tolist() == np.searchsorted(labels, np.arange(NUM_LABELS + 1)).tolist()
    assert tokens.tolist() == expected_tokens.tolist()
    assert values.tolist() == u_LV[labels, expected_tokens].tolist()


def test_a_head_that_is_full_has_the_labels_of_most_weights() -> None:
    sizes_L = np.full(MAX_HEADS + 3, MIN_HEAD_WEIGHTS + 1)
    sizes_L[[5, 900, 4_000]] -= 1
    indptr = np.concatenate([[0], np.cumsum(sizes_L)])
    tokens = (np.arange(indptr[-1]) - np.repeat(indptr[:-1], sizes_L)).astype(np.int32)
    values, bias_L = np.ones(len(tokens), np.float32), np.zeros(len(sizes_L), np.float32)
    classifier = SparseClassifier.build(indptr, tokens, values, bias_L, NUM_FEATURES)
    assert np.flatnonzero(classifier.head < 0).tolist() == [5, 900, 4_000]
    assert classifier.head.max() == classifier.posting_heads.max() == MAX_HEADS - 1
    last_token = Bags(np.array([MIN_HEAD_WEIGHTS], np.int32), np.ones(1, np.float32), np.array([0, 1]))
    every_label = candidates_of(np.arange(len(sizes_L), dtype=np.int32), np.array([0, len(sizes_L)]))
    assert np.array_equal(classifier.logits(every_label, last_token), (classifier.head >= 0).astype(np.float32))


def test_without_a_head_nothing_is_as_large_as_the_vocabulary() -> None:
    last = 2**31 - 2
    tokens, values = np.array([0, last], np.int32), np.array([1, 2], np.float32)
    classifier = SparseClassifier.build(np.array([0, 2]), tokens, values, np.zeros(1, np.float32), last + 1)
    assert classifier.posting_indptr.tolist() == [0]
    bags = Bags(np.array([7, last], np.int32), np.array([1, 0.5], np.float32), np.array([0, 2]))
    assert classifier.logits(candidates_of(np.zeros(1, np.int32), np.array([0, 1])), bags).tolist() == [1.0]


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    return str(caught.value)


def test_weights_are_mapped(full_artifact: Path) -> None:
    sparse = open_artifact(full_artifact).sparse
    assert sparse is not None
    assert all(isinstance(getattr(sparse, field.name).base, np.memmap) for field in fields(SparseClassifier))


def test_what_cannot_be_mapped_is_read_only_too(artifact_copy: Path, reseal: Reseal) -> None:
    """Or else numba would compile a second kernel for models without a head."""
    classifier = open_artifact(artifact_copy).sparse
    assert classifier is not None
    num_labels = len(classifier.bias)
    np.save(artifact_copy / FILES.sparse_head, np.full(num_labels, -1, np.int32))
    for name in (FILES.sparse_posting_heads, FILES.sparse_posting_values):
        np.save(artifact_copy / name, np.load(artifact_copy / name)[:0])
    np.save(artifact_copy / FILES.sparse_posting_indptr, np.zeros(1, np.int64))

    def shrink(manifest: dict[str, Any]) -> None:
        manifest["scoring"]["sparse_weights"] = len(classifier.values)

    reseal(artifact_copy, shrink)
    headless = open_artifact(artifact_copy).sparse
    assert headless is not None
    assert not any(getattr(headless, field.name).flags.writeable for field in fields(SparseClassifier))


@pytest.mark.parametrize("name", [FILES.sparse_indptr, FILES.sparse_posting_indptr])
def test_bounds_that_do_not_ascend(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    indptr = np.load(artifact_copy / name)
    indptr[1] = indptr[-1] + 1
    np.save(artifact_copy / name, indptr)
    reseal(artifact_copy)
    assert f"{name} does not ascend from 0" in refusal(artifact_copy)


@pytest.mark.parametrize(
    ("name", "id_", "named"),
    [
        (FILES.sparse_indices, -1, "token ids -1.."),
        (FILES.sparse_indices, 1_000_000_000, "..1000000000 of"),
        (FILES.sparse_head, -2, "head label ids -2.."),
        (FILES.sparse_head, MAX_HEADS, f"..{MAX_HEADS} of {MAX_HEADS} head labels"),
        (FILES.sparse_posting_heads, 65_535, "..65535 of"),
    ],
)
def test_an_id_out_of_range(artifact_copy: Path, reseal: Reseal, name: str, id_: int, named: str) -> None:
    ids = np.load(artifact_copy / name)
    ids[0] = id_
    np.save(artifact_copy / name, ids)
    reseal(artifact_copy)
    message = refusal(artifact_copy)
    assert f"{name}: " in message
    assert named in message


@pytest.mark.parametrize("name", [FILES.sparse_values, FILES.sparse_bias, FILES.sparse_posting_values])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number(artifact_copy: Path, reseal: Reseal, name: str, value: float) -> None:
    values = np.load(artifact_copy / name)
    values[-1] = value
    np.save(artifact_copy / name, values)
    reseal(artifact_copy)
    assert f"{name} holds NaN or infinity" in refusal(artifact_copy)


@pytest.mark.parametrize("word", [0, -1])
def test_bits_of_other_weights(artifact_copy: Path, reseal: Reseal, word: int) -> None:
    """Positions that they give are not checked again when a query is answered."""
    words = np.load(artifact_copy / FILES.sparse_words)
    words[word] += np.uint64(1)
    np.save(artifact_copy / FILES.sparse_words, words)
    reseal(artifact_copy)
    assert f"{FILES.sparse_words} is not that of {FILES.sparse_indices}" in refusal(artifact_copy)


def test_another_number_of_weights_than_the_manifest_says(artifact_copy: Path, reseal: Reseal) -> None:
    def grow(manifest: dict[str, Any]) -> None:
        manifest["scoring"]["sparse_weights"] += 1

    count = open_artifact(artifact_copy).manifest.scoring.sparse_weights
    reseal(artifact_copy, grow)
    assert f"not at {count + 1} together" in refusal(artifact_copy)


@pytest.mark.parametrize(
    "name",
    [
        FILES.sparse_indptr,
        FILES.sparse_indices,
        FILES.sparse_values,
        FILES.sparse_words,
        FILES.sparse_bias,
        FILES.sparse_head,
        FILES.sparse_posting_indptr,
        FILES.sparse_posting_heads,
        FILES.sparse_posting_values,
    ],
)
def test_an_array_of_another_length(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    np.save(artifact_copy / name, np.load(artifact_copy / name)[:-1])
    reseal(artifact_copy)
    assert f"{name} has shape" in refusal(artifact_copy)


def test_positions_of_another_type(artifact_copy: Path, reseal: Reseal) -> None:
    name = FILES.sparse_posting_heads
    np.save(artifact_copy / name, np.load(artifact_copy / name).astype(np.int32))
    reseal(artifact_copy)
    assert f"{name} is int32, not uint16" in refusal(artifact_copy)
