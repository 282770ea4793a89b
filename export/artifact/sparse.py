"""A sparse linear term per label: weights on the query's own tokens, for what a dense representation blurs.

Most labels have few weights; those of a candidate are read label by label. The most frequent labels have thousands, of
which a query needs a handful, and are candidates of many queries. The weights of these, the head, lie token by token
instead: a query adds up the postings of its tokens once, in order of memory, and has the sums of all head labels.

Shapes: L labels, H head labels, V vocabulary, C candidates of all queries together, W weights of the other labels
together, P weights of the head labels together, T tokens of a query, S slots of a hash table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.artifact.hashing import first_slot
from export.artifact.prefetch import prefetch
from export.artifact.shortlist import Candidates

# Makes a probability of an SVM's margin, on which the training puts both classes at distance 1 from 0.
SPARSE_SLOPE = 2.0
# Scanning fewer weights costs less than the postings of a label that is a candidate of few queries.
MIN_HEAD_WEIGHTS = 512
# A head label costs every query its postings, and the sums (16 KiB) have to stay in the caches nearest to the core.
MAX_HEADS = 4096
# Of the low bits of a token id: a query has few tokens, so that a byte for each says no to almost all other ids.
_PRESENT_MASK = 8191
_SLOTS_PER_TOKEN = 4
_BLOCK = 512
"""Weights looked through at a time."""
_LABELS_AHEAD, _TOKENS_AHEAD = 4, 4
"""How many labels or tokens before its use what they have is asked for."""


@dataclass(frozen=True, slots=True)
class SparseClassifier:
    """1-vs-all linear classifiers u_l with bias c_l, those of the head by token, all others by label.

    Label l owns `[indptr[l] : indptr[l + 1]]` of `indices` (token ids) and `values`, nothing where it is a head label;
    token t owns `[posting_indptr[t] : posting_indptr[t + 1]]` of `posting_heads` (head labels) and `posting_values`.

    Shapes: `indptr` int64 [L + 1], `indices` int32 [W], `values` float32 [W], `bias` float32 [L], `head` (which head
    label a label is, or -1) int32 [L], `posting_indptr` int64 [V + 1], or [1] without a head, `posting_heads` uint16
    [P], `posting_values` float32 [P].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]
    head: NDArray[np.int32]
    posting_indptr: NDArray[np.int64]
    posting_heads: NDArray[np.uint16]
    posting_values: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: NDArray[np.float32],
        bias: NDArray[np.float32],
        num_features: int,
    ) -> SparseClassifier:
        """From weights that all lie by label, shapes as above; `num_features` is V."""
        sizes_L = np.diff(indptr)
        largest = np.argsort(-sizes_L, kind="stable")[:MAX_HEADS]
        heads_H = np.sort(largest[sizes_L[largest] >= MIN_HEAD_WEIGHTS])
        head_L = np.full(len(sizes_L), -1, np.int32)
        head_L[heads_H] = np.arange(len(heads_H), dtype=np.int32)
        owners = np.repeat(head_L, sizes_L)
        posted = owners >= 0
        order_P = np.argsort(indices[posted], kind="stable")
        return cls(
            indptr=_bounds(np.where(head_L >= 0, 0, sizes_L)),
            indices=indices[~posted],
            values=values[~posted],
            bias=bias,
            head=head_L,
            posting_indptr=_bounds(np.bincount(indices[posted], minlength=num_features if len(heads_H) else 0)),
            posting_heads=owners[posted][order_P].astype(np.uint16),
            posting_values=values[posted][order_P],
        )

    @property
    def num_weights(self) -> int:
        """W + P."""
        return len(self.values) + len(self.posting_values)

    def logits(self, candidates: Candidates, bags: Bags) -> NDArray[np.float32]:
        """u_l . x + c_l of every candidate, float32 [C]; `bags` are those of the candidates' queries."""
        return _logits(
            candidates.labels,
            candidates.offsets,
            bags.ids,
            bags.weights,
            bags.offsets,
            self.indptr,
            self.indices,
            self.values,
            self.bias,
            self.head,
            self.posting_indptr,
            self.posting_heads,
            self.posting_values,
        )


def _bounds(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)))


@njit(cache=True, nogil=True)
def _logits(
    labels_C: NDArray[np.int32],
    candidate_offsets: NDArray[np.int64],
    token_ids: NDArray[np.int32],
    token_weights: NDArray[np.float32],
    token_offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    head: NDArray[np.int32],
    posting_indptr: NDArray[np.int64],
    posting_heads: NDArray[np.uint16],
    posting_values: NDArray[np.float32],
) -> NDArray[np.float32]:
    sums_H = np.empty(MAX_HEADS if len(posting_heads) else 0, np.float32)
    logits_C = np.empty(len(labels_C), np.float32)
    present, positions = np.zeros(_PRESENT_MASK + 1, np.uint8), np.empty(_BLOCK, np.int64)
    for query in range(len(candidate_offsets) - 1):
        ids_T = token_ids[token_offsets[query] : token_offsets[query + 1]]
        weights_T = token_weights[token_offsets[query] : token_offsets[query + 1]]
        if len(sums_H):
            _sum_postings(ids_T, weights_T, posting_indptr, posting_heads, posting_values, sums_H)
        keys_S, weights_S = _token_table(ids_T, weights_T)
        for token in ids_T:
            present[token & _PRESENT_MASK] = 1
        for candidate in range(candidate_offsets[query], candidate_offsets[query + 1]):
            ahead = labels_C[min(candidate + _LABELS_AHEAD, len(labels_C) - 1)]
            prefetch(indices, indptr[ahead], indptr[ahead + 1])
            label = labels_C[candidate]
            logit = bias[label]
            if head[label] >= 0:
                logit += sums_H[head[label]]
            logits_C[candidate] = logit + _sum_own(
                indices, values, indptr[label], indptr[label + 1], present, keys_S, weights_S, positions
            )
        for token in ids_T:
            present[token & _PRESENT_MASK] = 0
    return logits_C


@njit(cache=True, nogil=True)
def _sum_postings(
    ids_T: NDArray[np.int32],
    weights_T: NDArray[np.float32],
    posting_indptr: NDArray[np.int64],
    posting_heads: NDArray[np.uint16],
    posting_values: NDArray[np.float32],
    sums_H: NDArray[np.float32],
) -> None:
    sums_H[:] = 0
    for token in range(len(ids_T)):
        ahead = ids_T[min(token + _TOKENS_AHEAD, len(ids_T) - 1)]
        prefetch(posting_heads, posting_indptr[ahead], posting_indptr[ahead + 1])
        prefetch(posting_values, posting_indptr[ahead], posting_indptr[ahead + 1])
        weight = weights_T[token]
        for i in range(posting_indptr[ids_T[token]], posting_indptr[ids_T[token] + 1]):
            sums_H[posting_heads[i]] += weight * posting_values[i]


@njit(cache=True, nogil=True)
def _sum_own(
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    begin: int,
    end: int,
    present: NDArray[np.uint8],
    keys_S: NDArray[np.int32],
    weights_S: NDArray[np.float32],
    positions: NDArray[np.int64],
) -> np.float32:
    """The product of a label's weights `[begin:end]` with the query whose tokens are `present`.

    `positions` int64 [_BLOCK] is scratch.
    """
    total = np.float32(0)
    for block in range(begin, end, _BLOCK):
        # First without a branch, which the processor would guess wrong at every weight that the query has.
        found = 0
        for i in range(block, min(block + _BLOCK, end)):
            positions[found] = i
            found += present[indices[i] & _PRESENT_MASK]
        for i in positions[:found]:
            slot = _slot(indices[i], keys_S)
            if keys_S[slot] >= 0:
                total += values[i] * weights_S[slot]
    return total


@njit(cache=True, nogil=True)
def _token_table(
    ids_T: NDArray[np.int32], weights_T: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A hash table from token to weight, in the nearest cache whatever the size of the vocabulary; key -1 is free."""
    capacity = _SLOTS_PER_TOKEN
    while capacity < _SLOTS_PER_TOKEN * len(ids_T):
        capacity *= 2
    keys_S, weights_S = np.full(capacity, -1, np.int32), np.zeros(capacity, np.float32)
    for token in range(len(ids_T)):
        slot = _slot(ids_T[token], keys_S)
        keys_S[slot] = ids_T[token]
        weights_S[slot] += weights_T[token]  # a client's feature id may come twice
    return keys_S, weights_S


@njit(cache=True, nogil=True, inline="always")
def _slot(token: int, keys_S: NDArray[np.int32]) -> int:
    """Where `token` is in the table, or would be."""
    mask = len(keys_S) - 1
    slot = first_slot(token, mask)
    while keys_S[slot] >= 0 and keys_S[slot] != token:
        slot = (slot + 1) & mask
    return slot
