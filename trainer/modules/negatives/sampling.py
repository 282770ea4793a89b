"""Module II: the two ANN graphs, and the negatives mined with them or drawn (paper, sections 3.2 and 4).

Shapes: N training texts, D dimensions, L labels, S negatives of a text, B texts of a batch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import HnswParams, NeighbourIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.representatives import Representatives
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.console import track
from astec.trainer.modules.negatives.exact_index import ExactIndex
from astec.trainer.modules.negatives.representatives import label_representatives
from astec.trainer.parallel.world import Arrays
from astec.trainer.settings.config import HnswSection, ShortlistSection

_CHUNK_TEXTS = 512
_SAMPLER_POWERS = {"uniform": 0.0, "unigram": 0.75}
_DRAWS_PER_NEGATIVE = 8


@dataclass(frozen=True, slots=True)
class Graphs:
    """The graphs ANNS-mu and ANNS-x, with the labels of their vectors."""

    centroids: HnswIndex
    centroid_labels: NDArray[np.int32]
    points: HnswIndex
    point_labels: LabelSets
    representatives: Representatives

    def shortlister(self, settings: ShortlistSection) -> Shortlister:
        """Return the search through the graphs."""
        return self._shortlister(self.centroids, self.points, settings)

    def exact_shortlister(self, settings: ShortlistSection, device: torch.device) -> Shortlister:
        """Return the exact search, by brute force on `device`."""
        centroids, points = (ExactIndex(graph.vectors(), device) for graph in (self.centroids, self.points))
        return self._shortlister(centroids, points, settings)

    def _shortlister(
        self, centroids: NeighbourIndex, points: NeighbourIndex, settings: ShortlistSection
    ) -> Shortlister:
        return Shortlister(
            LabelGraph(centroids, LabelSets.one_each(self.centroid_labels), settings.centroids.neighbours),
            LabelGraph(points, self.point_labels, settings.points.neighbours),
            self.representatives,
        )


def build_graphs(v_ND: NDArray[np.float32], labels_NL: csr_matrix, settings: ShortlistSection, seed: int) -> Graphs:
    """Build the graphs over the label representatives and over the v of the training texts."""
    mu_LD, centroid_labels = label_representatives(v_ND, labels_NL, settings, seed)
    centroids = HnswIndex.build(mu_LD, _params(settings.centroids), seed)
    return Graphs(
        centroids=centroids,
        centroid_labels=centroid_labels,
        points=HnswIndex.build(v_ND, _params(settings.points), seed),
        point_labels=LabelSets(labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32)),
        representatives=Representatives.of(centroids.vectors(), centroid_labels, labels_NL.shape[1]),
    )


def shortlist_all(shortlister: Shortlister, v_ND: NDArray[np.float32], description: str) -> Iterator[Candidates]:
    """Yield the candidates of all texts in chunks of 512, searched on all CPUs, with few chunks in memory at a time."""
    firsts = range(0, len(v_ND), _CHUNK_TEXTS)
    ahead: deque[Future[Candidates]] = deque()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for first in track(firsts, description):
            v_BD = v_ND[first : first + _CHUNK_TEXTS]
            ahead.append(pool.submit(shortlister.search, v_BD, v_BD))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def shortlist(shortlister: Shortlister, v_ND: NDArray[np.float32], description: str) -> Candidates:
    """Return the candidates of all texts together."""
    chunks = list(shortlist_all(shortlister, v_ND, description))
    lengths = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    return Candidates(
        np.concatenate([chunk.labels for chunk in chunks]),
        np.concatenate([chunk.similarities for chunk in chunks]),
        np.concatenate([chunk.votes for chunk in chunks]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def candidate_arrays(candidates: Candidates) -> Arrays:
    """Return the arrays of `Candidates` by name."""
    return {name: getattr(candidates, name) for name in Candidates.__slots__}


def choose_negatives(
    graphs: Graphs,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    settings: ShortlistSection,
    seed: int,
    device: torch.device,
) -> NDArray[np.int32]:
    """Return negatives of each text by the sampler of the settings, int32 [N, S], -1 where a text has fewer.

    Hard negatives are mined by brute force on a GPU, and with the graphs on a CPU.
    """
    if settings.sampler != "hard":
        power = _SAMPLER_POWERS[settings.sampler]
        return draw_negatives(labels_NL, power, settings.num_hard_negatives, seed)
    on_gpu = device.type == "cuda"
    shortlister = graphs.exact_shortlister(settings, device) if on_gpu else graphs.shortlister(settings)
    return mine_negatives(shortlister, v_ND, labels_NL, settings.num_hard_negatives)


def nearness(candidates: Candidates, first_row: int) -> NDArray[np.float32]:
    """Return how near the candidates are: their similarity plus their votes, float32 [C]."""
    return candidates.similarities + candidates.votes


def mine_negatives(
    shortlister: Shortlister,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    num_negatives: int,
    hardness: Callable[[Candidates, int], NDArray[np.float32]] = nearness,
) -> NDArray[np.int32]:
    """Mine hard negatives: the candidates of each text without its own labels, hardest first.

    A text finds itself in ANNS-x, but that brings only its own labels, which are no negatives.

    Args:
        shortlister: searches the candidates.
        v_ND: representations of the texts.
        labels_NL: labels of the texts.
        num_negatives: S.
        hardness: returns how hard some candidates are, given the candidates and the row of their first text.

    Returns:
        int32 [N, S], -1 where a text has fewer.
    """
    negatives_NS = np.full((len(v_ND), num_negatives), -1, np.int32)
    indptr, indices = labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32)
    begin = 0
    for found in shortlist_all(shortlister, v_ND, "mining hard negatives"):
        end = begin + len(found.offsets) - 1
        _keep_negatives(
            found.labels,
            hardness(found, begin),
            found.offsets,
            indptr[begin:],
            indices,
            negatives_NS[begin:end],
        )
        begin = end
    return negatives_NS


def draw_negatives(labels_NL: csr_matrix, power: float, num_negatives: int, seed: int) -> NDArray[np.int32]:
    """Draw distinct negatives of each text with probability proportional to label frequency ** power.

    Power 0 is uniform, 0.75 is word2vec's negative sampling: the paper's baselines (Table 6d). A label without a text
    is drawn as if it had one.

    Returns:
        int32 [N, S], -1 where eight draws for each place did not give enough.
    """
    num_texts, num_labels = labels_NL.shape
    frequencies = np.maximum(np.bincount(labels_NL.indices, minlength=num_labels), 1)
    cumulative = np.cumsum(frequencies.astype(np.float64) ** power)
    negatives_NS = np.full((num_texts, num_negatives), -1, np.int32)
    indptr, indices = labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32)
    _draw(indptr, indices, cumulative / cumulative[-1], np.random.default_rng(seed), negatives_NS)
    return negatives_NS


def _params(settings: HnswSection) -> HnswParams:
    return HnswParams(settings.m, settings.ef_construction, settings.ef_search)


@njit(cache=True, nogil=True)
def _keep_negatives(
    labels: NDArray[np.int32],
    hardness: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    negatives_BS: NDArray[np.int32],
) -> None:
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        positives = indices[indptr[row] : indptr[row + 1]]
        size = 0
        for i in np.argsort(-hardness[begin:end], kind="mergesort"):
            if size == negatives_BS.shape[1]:
                break
            label = labels[begin + i]
            at = np.searchsorted(positives, label)
            if at == len(positives) or positives[at] != label:
                negatives_BS[row, size] = label
                size += 1


@njit(cache=True, nogil=True)
def _draw(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    cumulative_L: NDArray[np.float64],
    generator: np.random.Generator,
    negatives_NS: NDArray[np.int32],
) -> None:
    """Draw the negatives of all texts, as `draw_negatives` describes."""
    owners = np.full(len(cumulative_L), -1, np.int64)  # for each label, the last text that has it or was given it
    for row in range(len(negatives_NS)):
        for i in range(indptr[row], indptr[row + 1]):
            owners[indices[i]] = row
        size = 0
        for _ in range(_DRAWS_PER_NEGATIVE * negatives_NS.shape[1]):
            if size == negatives_NS.shape[1]:
                break
            label = np.searchsorted(cumulative_L, generator.random(), side="right")
            if owners[label] != row:
                owners[label] = row
                negatives_NS[row, size] = label
                size += 1
