"""A search for the nearest texts, by which trials before training tell what would help to find labels.

Training twice would tell, and take twice the time. In its place, labels are ranked by the similarity of the texts that
carry them, among a sample of texts and labels of bounded size: once with what is tried, and once without.

Shapes: P points (sampled texts, then texts of labels), L sampled labels, V tokens, R probe texts, B of them at a time,
K = 5 ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

LEAST_GAIN = 1.0
"""Points of P@k that what is tried must bring, as it costs training time and latency.

Where labels' own texts brought half a point, training gained 0.3 points, and a query took twice as long
(docs/accuracy.md)."""
_LEAST_ERRORS = 2.0  # standard errors that the gain must reach, too: a gain by chance is rarely as large
FEWEST_PROBES = 100
"""Texts with which a trial tells; of fewer, one lucky hit would decide."""
_RANKS = (1, 3, 5)
_NEIGHBOURS = 50
_MOST_PROBES = 1_000
_MOST_TEXTS, _MOST_PAIRS, _FEWEST_LABELS = 50_000, 100_000, 1_000


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain by something in a trial.

    Attributes:
        gain: points by which it raised the mean of P@1, P@3 and P@5.
        standard_error: of the gain.
    """

    gain: float
    standard_error: float

    @property
    def least_gain(self) -> float:
        """The least gain that is worth its cost and hardly by chance."""
        return max(LEAST_GAIN, _LEAST_ERRORS * self.standard_error)

    @property
    def succeeds(self) -> bool:
        """True if it should be used."""
        return self.gain >= self.least_gain

    @property
    def reason(self) -> str:
        """Say what decided."""
        changed = f"in a trial before training this changed P@k by {self.gain:+.2f} points"
        return f"{changed}, and at least {self.least_gain:.2f} are wanted"


class Found(NamedTuple):
    """Points that resemble a probe text, in any order, and the similarity of each."""

    points: NDArray[np.int32]
    similarities: NDArray[np.float32]

    def kept(self, is_kept: NDArray[np.bool_]) -> Found:
        """Return a part of the points."""
        return Found(self.points[is_kept], self.similarities[is_kept])

    def nearest(self) -> Found:
        """Return the nearest points, ascending."""
        near = self
        if len(self.points) > _NEIGHBOURS:
            near = self.kept(self.similarities >= np.partition(self.similarities, -_NEIGHBOURS)[-_NEIGHBOURS])
        order = np.argsort(near.points)
        return Found(near.points[order], near.similarities[order])


def sample_pairs(labels_NL: csr_matrix, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the labels of a sample, each ascending.

    Of many labels a random part is taken, with all texts that carry one of them, so that each label keeps its texts.
    """
    num_labels = labels_NL.shape[1]
    count = min(num_labels, max(_FEWEST_LABELS, num_labels * _MOST_PAIRS // labels_NL.nnz))
    labels_L = np.sort(generator.choice(num_labels, count, replace=False))
    rows = np.flatnonzero(np.diff(labels_NL[:, labels_L].indptr))
    if len(rows) > _MOST_TEXTS:
        rows = np.sort(generator.choice(rows, _MOST_TEXTS, replace=False))
    return rows, labels_L


def sample_probes(num_texts: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return which of the texts are the probes, ascending, int64 [R]."""
    return np.sort(generator.choice(num_texts, min(_MOST_PROBES, num_texts), replace=False))


def number_equal(texts: Sequence[str]) -> NDArray[np.int64]:
    """Give equal texts the same number."""
    numbers = dict[str, int]()
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts])


def split_rows(matrix: csr_matrix) -> Iterator[Found]:
    """Yield the entries of each row of similarities."""
    for begin, end in zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True):
        yield Found(matrix.indices[begin:end], matrix.data[begin:end])


def precision_of_votes(found: Sequence[Found], labels_PL: csr_matrix, relevant_BL: csr_matrix) -> NDArray[np.float64]:
    """Rank labels by the points that resemble each probe; return the mean of P@1, P@3 and P@5 in percent, [B]."""
    return _precision(_votes(found, labels_PL), relevant_BL)


def _votes(found: Sequence[Found], labels_PL: csr_matrix) -> csr_matrix:
    """Sum up the cubed similarities of the nearest points that carry each label, [B, L].

    Points as near as the last of the nearest count, too. The cube lets one very near point outweigh several others.
    """
    points, similarities = zip(*(some.nearest() for some in found), strict=True)
    indptr = np.concatenate([[0], np.cumsum(list(map(len, points)))])
    shape = (len(found), labels_PL.shape[0])
    return csr_matrix((np.concatenate(similarities) ** 3, np.concatenate(points), indptr), shape) @ labels_PL


def _precision(votes_BL: csr_matrix, relevant_BL: csr_matrix) -> NDArray[np.float64]:
    """Return the mean of P@1, P@3 and P@5 of each probe in percent, [B]."""
    hits_BK = np.zeros((votes_BL.shape[0], _RANKS[-1]))
    votes_BL.sort_indices()  # of labels with equal votes, the first counts
    for row in range(len(hits_BK)):
        entries = slice(*votes_BL.indptr[row : row + 2])
        best = votes_BL.indices[entries][np.argsort(-votes_BL.data[entries], kind="stable")[: _RANKS[-1]]]
        relevant = relevant_BL.indices[slice(*relevant_BL.indptr[row : row + 2])]
        hits_BK[row, : len(best)] = np.isin(best, relevant)
    mean_B: NDArray[np.float64] = np.mean([hits_BK[:, :k].mean(axis=1) for k in _RANKS], axis=0)
    return 100 * mean_B
