"""Module II: negatives of the training texts, mined by a search or drawn (paper, sections 3.2 and 4).

Shapes: N training texts, D dimensions, L labels, S negatives of a text, B texts of a batch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.console import track
from astec.trainer.parallel.world import Arrays
from astec.trainer.settings.config import ShortlistSection

Result = TypeVar("Result")
_CHUNK_TEXTS = 4096
_SAMPLER_POWERS = {"uniform": 0.0, "unigram": 0.75}
_DRAWS_PER_NEGATIVE = 8


def shortlist_all(
    shortlister: Shortlister, v_ND: NDArray[np.float32], description: str, finish: Callable[[Candidates, int], Result]
) -> Iterator[Result]:
    """Search the candidates of all texts in chunks, on all CPUs, with few chunks in memory at a time.

    Args:
        shortlister: searches the candidates.
        v_ND: representations of the texts.
        description: shown beside the progress bar.
        finish: makes the result of a chunk out of its candidates and the row of its first text; runs on many threads.

    Yields:
        The results in the order of the texts.
    """

    def search(first: int) -> Result:
        v_BD = v_ND[first : first + _CHUNK_TEXTS]
        return finish(shortlister.search(v_BD, v_BD), first)

    ahead: deque[Future[Result]] = deque()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for first in track(range(0, len(v_ND), _CHUNK_TEXTS), description):
            ahead.append(pool.submit(search, first))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def shortlist(shortlister: Shortlister, v_ND: NDArray[np.float32], description: str) -> Candidates:
    """Return the candidates of all texts together."""
    chunks = list(shortlist_all(shortlister, v_ND, description, lambda candidates, _: candidates))
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
    shortlister: Shortlister,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    settings: ShortlistSection,
    seed: int,
) -> Iterator[NDArray[np.int32]]:
    """Yield negatives of the texts by the sampler of the settings, block by block, as `mine_negatives` does."""
    if settings.sampler == "hard":
        return mine_negatives(shortlister, v_ND, labels_NL, settings.num_hard_negatives)
    return draw_negatives(labels_NL, _SAMPLER_POWERS[settings.sampler], settings.num_hard_negatives, seed)


def nearness(candidates: Candidates, first_row: int) -> NDArray[np.float32]:
    """Return how near the candidates are: their similarity plus their votes, float32 [C]."""
    return candidates.similarities + candidates.votes


def mine_negatives(
    shortlister: Shortlister,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    num_negatives: int,
    hardness: Callable[[Candidates, int], NDArray[np.float32]] = nearness,
) -> Iterator[NDArray[np.int32]]:
    """Mine hard negatives: the candidates of each text without its own labels, hardest first.

    A text finds itself in ANNS-x, but that brings only its own labels, which are no negatives.

    Args:
        shortlister: searches the candidates.
        v_ND: representations of the texts.
        labels_NL: labels of the texts.
        num_negatives: S.
        hardness: returns how hard some candidates are, given the candidates and the row of their first text; runs on
            many threads.

    Yields:
        The rows of an int32 array [N, S] in blocks, -1 where a text has fewer.
    """
    indptr, indices = labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32, copy=False)

    def keep(found: Candidates, first: int) -> NDArray[np.int32]:
        negatives_BS = np.full((len(found.offsets) - 1, num_negatives), -1, np.int32)
        _keep_negatives(found.labels, hardness(found, first), found.offsets, indptr[first:], indices, negatives_BS)
        return negatives_BS

    return shortlist_all(shortlister, v_ND, "mining hard negatives", keep)


def count_negatives(
    blocks: Iterator[NDArray[np.int32]], record: Callable[[float], None]
) -> Iterator[NDArray[np.int32]]:
    """Pass blocks of negatives on, and after the last one record the mean number of negatives of a text."""
    num_negatives, num_texts = 0, 0
    for negatives_BS in blocks:
        num_negatives += int((negatives_BS >= 0).sum())
        num_texts += len(negatives_BS)
        yield negatives_BS
    record(num_negatives / num_texts)


def draw_negatives(labels_NL: csr_matrix, power: float, num_negatives: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Draw distinct negatives of each text with probability proportional to label frequency ** power.

    Power 0 is uniform, 0.75 is word2vec's negative sampling: the paper's baselines (Table 6d). A label without a text
    is drawn as if it had one.

    Yields:
        The rows of an int32 array [N, S] in blocks, -1 where eight draws for each place did not give enough.
    """
    num_texts, num_labels = labels_NL.shape
    frequencies = np.maximum(np.bincount(labels_NL.indices, minlength=num_labels), 1)
    cumulative_L = np.cumsum(frequencies.astype(np.float64) ** power)
    cumulative_L /= cumulative_L[-1]
    generator = np.random.default_rng(seed)
    owners_L = np.full(num_labels, -1, np.int64)  # for each label, the last text that has it or was given it
    indptr, indices = labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32, copy=False)
    for first in range(0, num_texts, _CHUNK_TEXTS):
        negatives_BS = np.full((min(_CHUNK_TEXTS, num_texts - first), num_negatives), -1, np.int32)
        _draw(first, indptr, indices, cumulative_L, generator, owners_L, negatives_BS)
        yield negatives_BS


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
    first: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    cumulative_L: NDArray[np.float64],
    generator: np.random.Generator,
    owners_L: NDArray[np.int64],
    negatives_BS: NDArray[np.int32],
) -> None:
    """Draw the negatives of the texts `first`, `first + 1`, ..., as `draw_negatives` describes."""
    for position in range(len(negatives_BS)):
        text = first + position
        for i in range(indptr[text], indptr[text + 1]):
            owners_L[indices[i]] = text
        size = 0
        for _ in range(_DRAWS_PER_NEGATIVE * negatives_BS.shape[1]):
            if size == negatives_BS.shape[1]:
                break
            label = np.searchsorted(cumulative_L, generator.random(), side="right")
            if owners_L[label] != text:
                owners_L[label] = text
                negatives_BS[position, size] = label
                size += 1
