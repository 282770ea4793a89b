"""The sparse term: for each label a linear classifier over the query's own tokens, which a dense representation blurs.

Most labels have few weights, of which a query needs a handful; `token_bits` finds these, label by label. The most
frequent labels, the head, have thousands of weights and are candidates of many queries. Their weights are stored by
token instead, as postings: the postings of a query's tokens are added up once, in the order of memory, which gives the
sums of all head labels.

Shapes: L labels, H head labels, V vocabulary, C candidates of all queries together, W weights of the other labels
together, N words of bits of these, P weights of the head labels together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.sparse_logits import SparseArrays, sparse_logits
from astec.export.artifact.scoring.token_bits import arrange_weights, is_arranged, num_words
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.storage.checked_arrays import open_array, open_bounds, open_finite, require, require_ids
from astec.export.artifact.text.bags import Bags

SPARSE_FILES: Final = {
    "indptr": "sparse.indptr.npy",
    "indices": "sparse.indices.npy",
    "values": "sparse.values.npy",
    "words": "sparse.words.npy",
    "bias": "sparse.bias.npy",
    "head": "sparse.head.npy",
    "posting_indptr": "sparse.postings.indptr.npy",
    "posting_heads": "sparse.postings.heads.npy",
    "posting_values": "sparse.postings.values.npy",
}
"""The file of each array of `SparseClassifier`."""
POSTING_FILES: Final = tuple(name for name in SPARSE_FILES.values() if "postings" in name)
"""The files of the head labels' weights, which added labels leave as they are."""

# Turns the margin of an SVM, which is trained to be 1 or -1, into a probability.
SPARSE_SLOPE = 2.0
# For a label with fewer weights, looking up tokens costs less than its postings, which every query would read.
MIN_HEAD_WEIGHTS = 512
# Every query reads the postings of all head labels, and their sums (16 KiB) must fit the processor's first cache.
MAX_HEADS = 4096


@dataclass(frozen=True, slots=True)
class SparseClassifier:
    """1-vs-all linear classifiers u_l with bias c_l: the weights of the head by token, of all other labels by label.

    Label l owns `[indptr[l] : indptr[l + 1]]` of `indices` (token ids) and `values`, an empty range if it is a head
    label. Its weights are in the order of `token_bits`, whose `words` find them. Token t owns
    `[posting_indptr[t] : posting_indptr[t + 1]]` of `posting_heads` (numbers of head labels) and `posting_values`.

    Shapes: `indptr` int64 [L + 1], `indices` int32 [W], `values` float32 [W], `words` uint64 [N + 1], `bias` float32
    [L], `head` (the label's number among the head labels, or -1) int32 [L], `posting_indptr` int64 [V + 1], or [1]
    without a head, `posting_heads` uint16 [P], `posting_values` float32 [P].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    words: NDArray[np.uint64]
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
        """Arrange weights that are given by label, each label's on distinct tokens; `num_features` is V.

        Raises:
            ValueError: a label outside the head has a million weights or more.
        """
        sizes_L = np.diff(indptr)
        largest = np.argsort(-sizes_L, kind="stable")[:MAX_HEADS]
        heads_H = np.sort(largest[sizes_L[largest] >= MIN_HEAD_WEIGHTS])
        head_L = np.full(len(sizes_L), -1, np.int32)
        head_L[heads_H] = np.arange(len(heads_H), dtype=np.int32)
        posted = np.repeat(head_L >= 0, sizes_L)
        posted_tokens, posted_values = indices[posted], values[posted]
        owners = np.repeat(np.arange(len(heads_H), dtype=np.uint16), sizes_L[heads_H])
        if len(heads_H):  # else a copy of hundreds of millions of weights would change nothing
            indices, values = indices[~posted], values[~posted]
        order_P = np.argsort(posted_tokens, kind="stable")
        indptr = _bounds(np.where(head_L >= 0, 0, sizes_L))
        order_W, words = arrange_weights(indptr, indices)
        return cls(
            indptr=indptr,
            indices=indices[order_W],
            values=values[order_W],
            words=words,
            bias=bias,
            head=head_L,
            posting_indptr=_bounds(np.bincount(posted_tokens, minlength=num_features if len(heads_H) else 0)),
            posting_heads=owners[order_P],
            posting_values=posted_values[order_P],
        )

    @classmethod
    def open(cls, folder: Path, num_labels: int, num_features: int, num_weights: int) -> SparseClassifier:
        """Map the classifiers of L = `num_labels` labels over V = `num_features` tokens.

        Raises:
            ValueError: a file has another type or shape, a number would lead a look-up out of its array, a value or
                bias is NaN or infinite, or there are not W + P = `num_weights` weights.
        """
        names = SPARSE_FILES
        indptr = open_bounds(folder, names["indptr"], num_labels)
        head = open_array(folder, names["head"], np.int32, (num_labels,))
        require_ids(names["head"], head, "head label", MAX_HEADS, least=-1)
        num_heads = int(head.max()) + 1
        posting_indptr = open_bounds(folder, names["posting_indptr"], num_features if num_heads else 0)
        by_label, by_token = int(indptr[-1]), int(posting_indptr[-1])
        require(
            by_label + by_token == num_weights,
            f"{names['indptr']} ends at {by_label} and {names['posting_indptr']} at {by_token}, "
            f"not at {num_weights} together",
        )
        indices = open_array(folder, names["indices"], np.int32, (by_label,))
        require_ids(names["indices"], indices, "token", num_features)
        words = open_array(folder, names["words"], np.uint64, (num_words(indptr) + 1,))
        require(is_arranged(indptr, indices, words), f"{names['words']} is not that of {names['indices']}")
        posting_heads = open_array(folder, names["posting_heads"], np.uint16, (by_token,))
        require_ids(names["posting_heads"], posting_heads, "head label", num_heads)
        return cls(
            indptr=indptr,
            indices=indices,
            values=open_finite(folder, names["values"], by_label),
            words=words,
            bias=open_finite(folder, names["bias"], num_labels),
            head=head,
            posting_indptr=posting_indptr,
            posting_heads=posting_heads,
            posting_values=open_finite(folder, names["posting_values"], by_token),
        )

    def extended(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> SparseClassifier:
        """Return the weights of these labels and then of more, given by label as for `build`; none joins the head.

        Raises:
            ValueError: an added label has a million weights or more.
        """
        indptr = np.append(self.indptr, self.indptr[-1] + indptr[1:])
        indices, values = np.append(self.indices, indices), np.append(self.values, values)
        order_W, words = arrange_weights(indptr, indices)
        return replace(
            self,
            indptr=indptr,
            indices=indices[order_W],
            values=values[order_W],
            words=words,
            bias=np.append(self.bias, bias),
            head=np.append(self.head, np.full(len(bias), -1, np.int32)),
        )

    def save(self, folder: Path, but: Collection[str] = ()) -> None:
        """Write the files that `open` reads, `but` those."""
        for array, name in SPARSE_FILES.items():
            if name not in but:
                np.save(folder / name, getattr(self, array))

    def by_label(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return the arguments of `build`: where each label's weights begin, int64 [L + 1], their tokens and values."""
        heads_H = np.flatnonzero(self.head >= 0)
        by_token = np.repeat(np.arange(len(self.posting_indptr) - 1, dtype=np.int32), np.diff(self.posting_indptr))
        owners = np.append(np.repeat(np.arange(len(self.head)), np.diff(self.indptr)), heads_H[self.posting_heads])
        tokens = np.append(self.indices, by_token)
        order = np.lexsort((tokens, owners))
        values = np.append(self.values, self.posting_values)
        return _bounds(np.bincount(owners, minlength=len(self.head))), tokens[order], values[order]

    @property
    def num_weights(self) -> int:
        """The number of weights of all labels together, W + P."""
        return len(self.values) + len(self.posting_values)

    def logits(self, candidates: Candidates, bags: Bags) -> NDArray[np.float32]:
        """Return u_l . x + c_l of every candidate, float32 [C]; `bags` are the bags of the candidates' queries."""
        return sparse_logits(
            candidates.labels,
            candidates.offsets,
            bags.ids,
            bags.weights,
            bags.offsets,
            *self.arrays(),
        )

    def arrays(self) -> SparseArrays:
        """Return the arguments that `sparse_logits` takes of the labels."""
        return (
            self.indptr,
            self.words,
            self.indices,
            self.values,
            self.bias,
            self.head,
            self.posting_indptr,
            self.posting_heads,
            self.posting_values,
            int(self.head.max(initial=-1)) + 1,
        )


def _bounds(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)))
