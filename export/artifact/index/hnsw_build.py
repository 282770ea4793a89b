"""The builder of HNSW graphs: on all cores, and the same graph whatever their number.

Nodes are inserted in batches, as in ParlayANN (Manohar et al., PPoPP 2024). All nodes of a batch search the graph as it
was before the batch and choose their links; then each list that gets links back is changed by one thread. Threads only
divide work whose parts do not depend on each other, so that their number cannot change the graph. A batch has so few
nodes, compared with those already in the graph, that its nodes hardly ever miss each other.

Nodes are inserted in random order, so that a batch does not hold neighbours because they were neighbours in the data.
Only the entry comes first, a node of the highest level: then every search begins at the same node.

Shapes: N nodes, D dimensions, R lists of links, M = 2m links of a list at most, L levels, U upper nodes, G lists that
get links back, P links back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.hnsw_graph import NO_LINK, HnswGraph
from astec.export.artifact.index.hnsw_links import group_links_back, link_back, link_nodes
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.checked_arrays import is_finite, require

_BATCH_SHARE = 0.01  # of the nodes in the graph; docs/decisions/0009-own-graph-builder.md has other shares
_CHUNK_NODES, _CHUNK_LISTS = 32, 512  # some milliseconds of work for a thread


class _Lists(NamedTuple):
    """The lists of links, as `hnsw_links` describes them.

    Attributes:
        links: int32 [R, M].
        similarities: float32 [R, M].
        diverse: int32 [R].
    """

    links: NDArray[np.int32]
    similarities: NDArray[np.float32]
    diverse: NDArray[np.int32]


def build_graph(
    units_ND: NDArray[np.float32], params: HnswParams, seed: int, num_threads: int | None = None
) -> HnswGraph:
    """Build the graph over vectors; the same vectors, parameters and seed give the same graph.

    Args:
        units_ND: rows of unit norm or zeros, at least one.
        params: `ef_construction` counts as m at least.
        seed: of the nodes' levels and of the order in which they are inserted.
        num_threads: None takes as many as there are CPUs.

    Raises:
        ValueError: a vector holds NaN or infinity.
    """
    require(is_finite(units_ND), "the vectors hold NaN or infinity")
    count, m = len(units_ND), params.m
    ef = max(params.ef_construction, m)
    generator = np.random.default_rng(seed)
    # Levels have an exponential distribution of rate log(m): the smaller the draw, the higher the level.
    draws_N = 1 - generator.random(count)
    order_N = np.argsort(draws_N, kind="stable").astype(np.int32)
    levels_N = np.floor(-np.log(draws_N[order_N]) / np.log(m)).astype(np.int64)
    first_rows_L = _first_rows(levels_N)
    num_lists = int(first_rows_L[-1])
    lists, places_R = _empty_lists(num_lists, 2 * m), np.zeros(num_lists, np.int64)
    ordered_ND = np.ascontiguousarray(units_ND[order_N])
    nodes_N = np.append(0, 1 + generator.permutation(count - 1))
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        for nodes_B in _batches(nodes_N):
            link = partial(link_nodes, ordered_ND, *lists, first_rows_L, nodes_B, m, ef)
            _divide(pool, link, len(nodes_B), _CHUNK_NODES)
            back = group_links_back(lists.links, lists.similarities, first_rows_L, nodes_B, places_R)
            arguments = (ordered_ND, *lists, *back)
            _divide(pool, partial(link_back, *arguments), len(back[0]), _CHUNK_LISTS)
    return _in_order_of_ids(lists.links, first_rows_L, order_N, levels_N)


def _first_rows(levels_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row of each level, and the number of rows, for nodes whose levels descend."""
    sizes_L = np.count_nonzero(levels_N >= np.arange(levels_N[0] + 1)[:, None], axis=1)
    return np.concatenate([[0], np.cumsum(sizes_L)])


def _empty_lists(count: int, width: int) -> _Lists:
    """Return lists without links."""
    shape = (count, width)
    return _Lists(np.full(shape, NO_LINK, np.int32), np.empty(shape, np.float32), np.zeros(count, np.int32))


def _batches(nodes_N: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the nodes of each batch; the first node is in none, because there is nothing to link it to."""
    begin = 1
    while begin < len(nodes_N):
        end = begin + max(1, int(_BATCH_SHARE * begin))
        yield nodes_N[begin:end]
        begin = end


def _divide(pool: ThreadPoolExecutor, work: Callable[[int, int], None], count: int, size: int) -> None:
    """Do the work for [0, count), in chunks of `size`, and wait for it."""
    if count <= size:
        work(0, count)
        return
    firsts = range(0, count, size)
    list(pool.map(work, firsts, (min(first + size, count) for first in firsts)))  # raises any error of a thread


def _in_order_of_ids(
    links_RM: NDArray[np.int32],
    first_rows_L: NDArray[np.int64],
    order_N: NDArray[np.int32],
    levels_N: NDArray[np.int64],
) -> HnswGraph:
    """Return the graph with the nodes in the order of their ids."""
    count, num_upper = len(order_N), max(1, int(np.count_nonzero(levels_N)))
    links_NM = np.empty((count, links_RM.shape[1]), np.int32)
    links_NM[order_N] = _renumbered(links_RM[:count], order_N)
    by_id_U = np.argsort(order_N[:num_upper])
    numbers_U = np.empty(num_upper, np.int32)
    numbers_U[by_id_U] = np.arange(num_upper)
    levels_U = levels_N[by_id_U]
    bounds = np.concatenate([[0], np.cumsum(levels_U)])
    level_R = np.arange(bounds[-1]) - np.repeat(bounds[:-1], levels_U)
    rows_R = first_rows_L[1 + level_R] + np.repeat(by_id_U, levels_U)
    return HnswGraph(
        read_only(links_NM),
        read_only(order_N[by_id_U]),
        read_only(bounds.astype(np.int32)),
        read_only(_renumbered(links_RM[rows_R, : links_RM.shape[1] // 2], numbers_U)),
        int(numbers_U[0]),
    )


def _renumbered(links: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number of each linked node."""
    return np.where(links == NO_LINK, np.int32(NO_LINK), numbers[links])
