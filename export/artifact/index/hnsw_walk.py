"""The kernel that searches an HNSW graph over vectors in int8 or float32 (Malkov and Yashunin, algorithms 2 and 5).

A search waits for vectors that are scattered in memory, and for branches that the processor predicts wrongly. So all
vectors that a node's links lead to are prefetched together before they are compared, and the links that will be
followed next are prefetched meanwhile; a vector in int8 has a quarter of the bytes; and visited nodes are kept in a
hash table that fits the processor's first cache, instead of a flag for each of N nodes, and is read without branches.

Shapes: B queries, D dimensions, K neighbours, N nodes, M links of a node, U upper nodes, R their lists of links, E
candidates (`ef`), T slots of the table of visited nodes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.hashing import first_slot
from astec.export.artifact.kernels.weight_rows import Weights, dot, prefetch_row

WalkArguments = tuple[
    Weights,
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    int,
    int,
    int,
]
"""The arguments of `walk` after the queries."""

_FREE = -1
_SLOTS_PER_CANDIDATE = 32  # rarely too few: a search visits about 15 nodes for each candidate
# Sums may be computed in any order, but NaN must stay NaN: no similarity is higher than NaN, so that a search ends.
SUMS = {"reassoc", "contract"}


@njit(cache=True, nogil=True, fastmath=SUMS)
def walk(
    queries_BD: NDArray[np.float32],
    codes_ND: Weights,
    scales_N: NDArray[np.float32],
    factors_D: NDArray[np.float32],
    links_NM: NDArray[np.int32],
    upper_nodes_U: NDArray[np.int32],
    upper_bounds: NDArray[np.int32],
    upper_links_RM: NDArray[np.int32],
    entry: int,
    k: int,
    ef: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k nearest nodes of each query, in the form of `NeighbourIndex.search`; k <= ef.

    Node n is the unit vector `codes[n] * factors * scales[n]`; without scales (float32 [0]), each is 1.
    """
    ids_BK = np.full((len(queries_BD), k), -1, np.int64)
    similarities_BK = np.full((len(queries_BD), k), -1, np.float32)
    scaled_BD = _scaled(queries_BD, factors_D)
    similarities_E, nodes_E = np.empty(ef, np.float32), np.empty(ef, np.int32)
    visited_T = table_of_visited(ef)
    for query in range(len(queries_BD)):
        nodes_E[0], similarities_E[0] = _descend(
            scaled_BD, query, codes_ND, scales_N, upper_nodes_U, upper_bounds, upper_links_RM, entry
        )
        found, visited_T = search_level(
            scaled_BD, query, codes_ND, scales_N, links_NM, nodes_E, similarities_E, visited_T
        )
        for rank in range(min(k, found)):
            ids_BK[query, rank], similarities_BK[query, rank] = ~nodes_E[rank], similarities_E[rank]
    return ids_BK, similarities_BK


@njit(cache=True, nogil=True)
def table_of_visited(ef: int) -> NDArray[np.int32]:
    """Return a table for `search_level` with `ef` candidates, int32 [T]."""
    capacity = 2
    while capacity < _SLOTS_PER_CANDIDATE * ef:
        capacity *= 2
    return np.empty(capacity, np.int32)


@njit(cache=True, nogil=True, fastmath=SUMS)
def search_level(
    x_BD: NDArray[np.float32],
    query: int,
    vectors_ND: Weights,
    scales_N: NDArray[np.float32],
    links_NM: NDArray[np.int32],
    nodes_E: NDArray[np.int32],
    similarities_E: NDArray[np.float32],
    visited_T: NDArray[np.int32],
) -> tuple[int, NDArray[np.int32]]:
    """Search one level for the E nodes nearest to a query's x.

    The search begins at the node that comes first in the arrays, with its similarity. The arrays then
    hold the candidates, the nearest first, each node n as ~n, because its links were followed.

    Returns:
        The number of candidates found, and the table for the next search, which may be a larger one.
    """
    fresh_M = np.empty(links_NM.shape[1], np.int32)
    visited_T[:] = _FREE
    _visit(nodes_E[0], visited_T)
    # Candidates are sorted, the nearest first. A candidate whose links were followed is stored as ~node.
    nearest, found, visited = 0, 1, 1
    while nearest < found:
        node = nodes_E[nearest]
        nodes_E[nearest] = ~node
        while 2 * (visited + len(fresh_M)) > len(visited_T):
            visited_T = _doubled(visited_T)
        num_fresh = _visit_links(node, links_NM, visited_T, fresh_M)
        visited += num_fresh
        for i in range(num_fresh):
            prefetch_row(vectors_ND, fresh_M[i])
            if len(scales_N):
                prefetch_row(scales_N, fresh_M[i])
        _prefetch_next(nearest + 1, found, nodes_E, links_NM)
        for i in range(num_fresh):
            similarity = dot(vectors_ND, scales_N, fresh_M[i], x_BD, query)
            if found < len(nodes_E):
                found += 1
            elif not similarity > similarities_E[found - 1]:
                continue
            rank = insert(fresh_M[i], similarity, nodes_E, similarities_E, found)
            if rank <= nearest:
                nearest = rank
                prefetch_row(links_NM, fresh_M[i])
        while nearest < found and nodes_E[nearest] < 0:
            nearest += 1
    return found, visited_T


@njit(cache=True, nogil=True, fastmath=SUMS)
def _scaled(queries_BD: NDArray[np.float32], factors_D: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the queries, scaled to unit norm (or zeros), times the factors of the codes."""
    scaled_BD = np.empty(queries_BD.shape, np.float32)
    for query in range(len(queries_BD)):
        squares = np.float32(0)
        for d in range(len(factors_D)):
            squares += queries_BD[query, d] * queries_BD[query, d]
        scale = np.float32(1) / np.sqrt(squares) if squares > 0 else np.float32(0)
        for d in range(len(factors_D)):
            scaled_BD[query, d] = queries_BD[query, d] * scale * factors_D[d]
    return scaled_BD


@njit(cache=True, nogil=True, fastmath=SUMS)
def _descend(
    scaled_BD: NDArray[np.float32],
    query: int,
    codes_ND: Weights,
    scales_N: NDArray[np.float32],
    upper_nodes_U: NDArray[np.int32],
    upper_bounds: NDArray[np.int32],
    upper_links_RM: NDArray[np.int32],
    entry: int,
) -> tuple[int, np.float32]:
    """Follow links to nearer nodes down the upper levels; return the last node and its similarity."""
    at = entry
    best = dot(codes_ND, scales_N, upper_nodes_U[at], scaled_BD, query)
    level = upper_bounds[at + 1] - upper_bounds[at] - 1
    while level >= 0:
        links_M = upper_links_RM[upper_bounds[at] + level]
        width = 0
        while width < len(links_M) and links_M[width] >= 0:
            prefetch_row(codes_ND, upper_nodes_U[links_M[width]])
            width += 1
        moved = False
        for i in range(width):
            similarity = dot(codes_ND, scales_N, upper_nodes_U[links_M[i]], scaled_BD, query)
            if similarity > best:
                at, best, moved = links_M[i], similarity, True
        if not moved:
            level -= 1
    return upper_nodes_U[at], best


@njit(cache=True, nogil=True, inline="always")
def _prefetch_next(begin: int, found: int, nodes_E: NDArray[np.int32], links_NM: NDArray[np.int32]) -> None:
    """Prefetch the links of the nearest of the candidates [begin, found) whose links were not followed yet.

    They are followed next unless a nearer node is found before.
    """
    while begin < found and nodes_E[begin] < 0:
        begin += 1
    if begin < found:
        prefetch_row(links_NM, nodes_E[begin])


@njit(cache=True, nogil=True, inline="always")
def _visit_links(
    node: int, links_NM: NDArray[np.int32], visited_T: NDArray[np.int32], fresh_M: NDArray[np.int32]
) -> int:
    """Visit the linked nodes; write those not visited before to `fresh_M` and return their number."""
    num_fresh = 0
    for i in range(links_NM.shape[1]):
        linked = links_NM[node, i]
        if linked < 0:
            break
        # Written whether fresh or not: a branch here would be mispredicted for every third link.
        fresh_M[num_fresh] = linked
        num_fresh += _visit(linked, visited_T)
    return num_fresh


@njit(cache=True, nogil=True, inline="always")
def _visit(node: int, visited_T: NDArray[np.int32]) -> int:
    """Mark the node as visited; return 1 if it was not visited before, else 0.

    The table has pairs of slots, filled from the first. Most nodes are in the pair where their search begins, or that
    pair has room. Then no branch is mispredicted: a pair is left only if the least of four numbers is not 0, and the
    rest is arithmetic. Conditions joined by `and` would be four branches, of which many are mispredicted.
    """
    mask = len(visited_T) - 1
    pair = first_slot(node, mask) & ~1
    first, second = visited_T[pair], visited_T[pair + 1]
    while _least(first - _FREE, second - _FREE, first ^ node, second ^ node):
        pair = (pair + 2) & mask
        first, second = visited_T[pair], visited_T[pair + 1]
    visited_T[pair + int((first != _FREE) & (first != node))] = node
    return int((first != node) & (second != node))


@njit(cache=True, nogil=True, inline="always")
def _least(a: int, b: int, c: int, d: int) -> np.uint32:
    """Return the least of four numbers, read as unsigned."""
    return min(min(np.uint32(a), np.uint32(b)), min(np.uint32(c), np.uint32(d)))


@njit(cache=True, nogil=True)
def _doubled(visited_T: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a table of the same nodes with twice the slots."""
    larger = np.full(2 * len(visited_T), _FREE, np.int32)
    for node in visited_T:
        if node != _FREE:
            _visit(node, larger)
    return larger


@njit(cache=True, nogil=True, inline="always")
def insert(
    node: int, similarity: np.float32, nodes: NDArray[np.int32], similarities: NDArray[np.float32], count: int
) -> int:
    """Insert a candidate into the first `count`, after those that are as near; drop the last, and return the rank.

    It is always inlined: a call would count references to both arrays, which takes as long as the insertion.
    """
    rank = count - 1
    while rank > 0 and similarities[rank - 1] < similarity:
        nodes[rank], similarities[rank] = nodes[rank - 1], similarities[rank - 1]
        rank -= 1
    nodes[rank], similarities[rank] = node, similarity
    return rank
