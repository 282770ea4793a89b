"""Module II: label representatives, the two ANN graphs, and the negatives mined with them (paper, sections 3.2 and 4).

Shapes: N training texts, D dimensions, L labels, S negatives of a text, B texts of a batch, U distinct labels of a
batch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.index import HnswIndex, HnswParams
from export.artifact.shortlist import Candidates, LabelGraph, LabelSets, Shortlister
from export.readers.progress import track
from trainer.config import HnswSection, ShortlistSection

_CHUNK_TEXTS = 512


@dataclass(frozen=True, slots=True)
class Graphs:
    """ANNS-mu and ANNS-x with what their vectors stand for."""

    centroids: HnswIndex
    centroid_labels: NDArray[np.int32]
    points: HnswIndex
    point_labels: LabelSets

    def shortlister(self, settings: ShortlistSection) -> Shortlister:
        """The search that serves, and that mines."""
        return Shortlister(
            (
                LabelGraph(self.centroids, LabelSets.one_each(self.centroid_labels), settings.centroids.neighbours),
                LabelGraph(self.points, self.point_labels, settings.points.neighbours),
            )
        )


def build_graphs(v_ND: NDArray[np.float32], labels_NL: csr_matrix, settings: ShortlistSection, seed: int) -> Graphs:
    """Index the label representatives mu_l, means of the v of their texts, and the v of the training texts."""
    mu_LD = np.asarray(labels_NL.T.tocsr() @ v_ND, np.float32)
    with ThreadPoolExecutor(2) as pool:  # each graph is built on one thread, to be the same every time
        centroids = pool.submit(HnswIndex.build, mu_LD, _params(settings.centroids), seed)
        points = pool.submit(HnswIndex.build, v_ND, _params(settings.points), seed)
        return Graphs(
            centroids=centroids.result(),
            centroid_labels=np.arange(labels_NL.shape[1], dtype=np.int32),
            points=points.result(),
            point_labels=LabelSets(labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32)),
        )


def shortlist_all(shortlister: Shortlister, v_ND: NDArray[np.float32], description: str) -> list[Candidates]:
    """Candidates of all texts, in chunks of 512, on all CPUs."""
    chunks = [v_ND[begin : begin + _CHUNK_TEXTS] for begin in range(0, len(v_ND), _CHUNK_TEXTS)]
    with ThreadPoolExecutor() as pool:
        return list(track(pool.map(shortlister.search, chunks), description, total=len(chunks)))


def mine_negatives(
    shortlister: Shortlister, v_ND: NDArray[np.float32], labels_NL: csr_matrix, num_negatives: int
) -> NDArray[np.int32]:
    """Hard negatives of each text: its candidates without its own labels, most similar first.

    Returns int32 [N, S], -1 where a text has fewer.

    A text finds itself in ANNS-x; that brings only its own labels, which are no negatives.
    """
    negatives_NS = np.full((len(v_ND), num_negatives), -1, np.int32)
    indptr, indices = labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32)
    begin = 0
    for found in shortlist_all(shortlister, v_ND, "mining hard negatives"):
        end = begin + len(found.offsets) - 1
        _keep_negatives(
            found.labels, found.similarities, found.offsets, indptr[begin:], indices, negatives_NS[begin:end]
        )
        begin = end
    return negatives_NS


class LabelSampler:
    """The labels that a batch is trained on: its positives, its hard negatives and random ones.

    Every text of the batch is scored against the labels of all, so that one matrix product serves the batch and each
    text has its neighbours' labels as further negatives at no cost.
    """

    def __init__(self, labels_NL: csr_matrix, negatives_NS: NDArray[np.int32], num_random: int, seed: int) -> None:
        self._indptr = labels_NL.indptr.astype(np.int64)
        self._indices = labels_NL.indices.astype(np.int32)
        self._negatives_NS = negatives_NS
        self._num_random = num_random
        self._generator = np.random.default_rng(seed)
        self._columns = np.full(labels_NL.shape[1], -1, np.int64)

    def sample(self, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Labels of a batch of texts.

        Returns:
            Distinct labels int64 [U], and for each positive pair its text in the batch and its column in those labels.
        """
        num_labels = len(self._columns)
        random = self._generator.integers(0, num_labels, self._num_random * len(rows_B))
        return _collect(rows_B, self._indptr, self._indices, self._negatives_NS, random, self._columns)


def _params(settings: HnswSection) -> HnswParams:
    return HnswParams(settings.m, settings.ef_construction, settings.ef_search)


@njit(cache=True, nogil=True)
def _keep_negatives(
    labels: NDArray[np.int32],
    similarities: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    negatives_BS: NDArray[np.int32],
) -> None:
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        positives = indices[indptr[row] : indptr[row + 1]]
        size = 0
        for i in np.argsort(-similarities[begin:end], kind="mergesort"):
            if size == negatives_BS.shape[1]:
                break
            label = labels[begin + i]
            at = np.searchsorted(positives, label)
            if at == len(positives) or positives[at] != label:
                negatives_BS[row, size] = label
                size += 1


@njit(cache=True, nogil=True)
def _collect(
    rows_B: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    negatives_NS: NDArray[np.int32],
    random: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """See `LabelSampler.sample`; `columns` [L] is scratch space, all -1 before and after."""
    num_positives = 0
    for row in rows_B:
        num_positives += indptr[row + 1] - indptr[row]
    labels = np.empty(num_positives + len(rows_B) * negatives_NS.shape[1] + len(random), np.int64)
    positive_rows, positive_columns = np.empty(num_positives, np.int64), np.empty(num_positives, np.int64)
    size, positive = 0, 0
    for position in range(len(rows_B)):
        row = rows_B[position]
        for i in range(indptr[row], indptr[row + 1]):
            size = _add(indices[i], columns, labels, size)
            positive_rows[positive], positive_columns[positive] = position, columns[indices[i]]
            positive += 1
        for label in negatives_NS[row]:
            if label < 0:
                break
            size = _add(label, columns, labels, size)
    for label in random:
        size = _add(label, columns, labels, size)
    for i in range(size):
        columns[labels[i]] = -1
    return labels[:size].copy(), positive_rows, positive_columns


@njit(cache=True, nogil=True, inline="always")
def _add(label: int, columns: NDArray[np.int64], labels: NDArray[np.int64], size: int) -> int:
    if columns[label] >= 0:
        return size
    columns[label] = size
    labels[size] = label
    return size + 1
