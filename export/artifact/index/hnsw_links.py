"""The kernels that link new nodes into an HNSW graph (Malkov and Yashunin, algorithms 1 and 4).

Nodes are numbered by level, those of the highest level first, so that the nodes of a level are the first ones of all.
The lists of links of all levels are the rows of one table, level by level: node n has row `first_rows[level] + n` in
each of its levels. A search begins at node 0, which is in all levels.

Shapes: N nodes, D dimensions, R lists of links, M links of a list at most, L levels, B new nodes, E candidates of a
search (`ef`), C candidates of a list, G lists that get links back, P links back.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.index.hnsw_graph import NO_LINK
from astec.export.artifact.index.hnsw_walk import SUMS, insert, search_level, table_of_visited
from astec.export.artifact.kernels.weight_rows import NO_SCALES, dot, prefetch_row


@njit(cache=True, nogil=True, fastmath=SUMS)
def link_nodes(
    units_ND: NDArray[np.float32],
    links_RM: NDArray[np.int32],
    similarities_RM: NDArray[np.float32],
    diverse_R: NDArray[np.int32],
    first_rows_L: NDArray[np.int64],
    nodes_B: NDArray[np.int64],
    m: int,
    ef: int,
    begin: int,
    end: int,
) -> None:
    """Write the lists of new nodes: up to m diverse ones of the `ef` nearest nodes that the graph reaches.

    Args:
        units_ND: the vectors, rows of unit norm or zeros.
        links_RM: the lists of links, filled up with NO_LINK.
        similarities_RM: the similarity of each link's ends.
        diverse_R: the number of links, the first of each list, that `select_diverse` chose together.
        first_rows_L: the first row of each level, and the number of rows, int64 [L + 1].
        nodes_B: the new nodes, to which no list leads.
        m: links of a new node in a level.
        ef: candidates examined, at least m.
        begin: the first of the new nodes to link.
        end: the one after the last.
    """
    nodes_E, similarities_E = np.empty(ef, np.int32), np.empty(ef, np.float32)
    visited_T = table_of_visited(ef)
    for node in nodes_B[begin:end]:
        nodes_E[0], similarities_E[0] = 0, dot(units_ND, NO_SCALES, 0, units_ND, node)
        for level in range(len(first_rows_L) - 2, -1, -1):
            first, last = first_rows_L[level], first_rows_L[level + 1]
            is_in_level = node < last - first
            width = ef if is_in_level else 1
            found, visited_T = search_level(
                units_ND,
                node,
                units_ND,
                NO_SCALES,
                links_RM[first:last],
                nodes_E[:width],
                similarities_E[:width],
                visited_T,
            )
            for i in range(found):
                nodes_E[i] = ~nodes_E[i]
            if is_in_level:
                kept = select_diverse(units_ND, nodes_E, similarities_E, found, m)
                diverse_R[first + node] = kept if found >= m else 0
                links_RM[first + node, :kept] = nodes_E[:kept]
                similarities_RM[first + node, :kept] = similarities_E[:kept]


@njit(cache=True, nogil=True)
def group_links_back(
    links_RM: NDArray[np.int32],
    similarities_RM: NDArray[np.float32],
    first_rows_L: NDArray[np.int64],
    nodes_B: NDArray[np.int64],
    places_R: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Group the links back to new nodes by the lists that get them.

    Args:
        links_RM: the lists of links.
        similarities_RM: the similarity of each link's ends.
        first_rows_L: as in `link_nodes`.
        nodes_B: the new nodes.
        places_R: scratch space, all zero before and after.

    Returns:
        The arguments `rows_G`, `bounds_G`, `sources_P` and `source_similarities_P` of `link_back`, in the order of the
        new nodes.
    """
    num_links, num_lists, placed = 0, 0, 0
    for node in nodes_B:
        for level in range(_num_levels(node, first_rows_L)):
            for linked in links_RM[first_rows_L[level] + node]:
                if linked != NO_LINK:
                    places_R[first_rows_L[level] + linked] += 1
                    num_links += 1
    rows_P, bounds_P = np.empty(num_links, np.int64), np.empty(num_links + 1, np.int64)
    sources_P, similarities_P = np.empty(num_links, np.int32), np.empty(num_links, np.float32)
    for node in nodes_B:
        for level in range(_num_levels(node, first_rows_L)):
            first = first_rows_L[level]
            for i, linked in enumerate(links_RM[first + node]):
                if linked == NO_LINK:
                    break
                place = places_R[first + linked]
                if place > 0:  # still the number of links; from now on ~ the place of the next one
                    rows_P[num_lists], bounds_P[num_lists] = first + linked, placed
                    num_lists += 1
                    placed, place = placed + place, ~placed
                sources_P[~place], similarities_P[~place] = node, similarities_RM[first + node, i]
                places_R[first + linked] = place - 1
    bounds_P[num_lists] = placed
    places_R[rows_P[:num_lists]] = 0
    return rows_P[:num_lists], bounds_P[: num_lists + 1], sources_P, similarities_P


@njit(cache=True, nogil=True, inline="always")
def _num_levels(node: int, first_rows_L: NDArray[np.int64]) -> int:
    """Return the number of levels that a node is in."""
    level = 1
    while level < len(first_rows_L) - 1 and node < first_rows_L[level + 1] - first_rows_L[level]:
        level += 1
    return level


@njit(cache=True, nogil=True, fastmath=SUMS)
def link_back(
    units_ND: NDArray[np.float32],
    links_RM: NDArray[np.int32],
    similarities_RM: NDArray[np.float32],
    diverse_R: NDArray[np.int32],
    rows_G: NDArray[np.int64],
    bounds_G: NDArray[np.int64],
    sources_P: NDArray[np.int32],
    source_similarities_P: NDArray[np.float32],
    begin: int,
    end: int,
) -> None:
    """Add links to the lists [begin, end) of those that get new ones; choose diverse ones where there is no room.

    Args:
        units_ND: the vectors.
        links_RM: the lists of links, of which those of the lowest level hold M links at most, the others M / 2.
        similarities_RM: the similarity of each link's ends.
        diverse_R: as in `link_nodes`.
        rows_G: the lists that get new links.
        bounds_G: list g gets the new links [bounds[g] : bounds[g + 1]], int64 [G + 1].
        sources_P: the nodes that the new links lead to.
        source_similarities_P: their similarities with the node that has the list.
        begin: the first of the G lists to change.
        end: the one after the last.
    """
    num_nodes, width = len(units_ND), links_RM.shape[1]
    nodes_C, similarities_C = np.empty(2 * width, np.int32), np.empty(2 * width, np.float32)
    for g in range(begin, end):
        row, first, last = rows_G[g], bounds_G[g], bounds_G[g + 1]
        most = width if row < num_nodes else width // 2
        count = 0
        while count < most and links_RM[row, count] != NO_LINK:
            count += 1
        if count + last - first <= most:
            for i in range(first, last):
                links_RM[row, count], similarities_RM[row, count] = sources_P[i], source_similarities_P[i]
                count += 1
            continue
        # Of links as near as each other the new ones come first: otherwise no link would ever lead to a node that has
        # the same vector as many older ones.
        found = 0
        for i in range(last - 1, first - 1, -1):
            if found < len(nodes_C):
                found += 1
            elif not source_similarities_P[i] > similarities_C[found - 1]:
                continue
            prefetch_row(units_ND, sources_P[i])
            insert(sources_P[i], source_similarities_P[i], nodes_C, similarities_C, found)
        for i in range(count):
            if found < len(nodes_C):
                found += 1
            elif not similarities_RM[row, i] > similarities_C[found - 1]:
                continue
            linked = links_RM[row, i]
            prefetch_row(units_ND, linked)
            # Links that were chosen together are stored as ~node: they need not be compared again.
            insert(~linked if i < diverse_R[row] else linked, similarities_RM[row, i], nodes_C, similarities_C, found)
        kept = select_diverse(units_ND, nodes_C, similarities_C, found, most)
        diverse_R[row] = kept
        for i in range(kept):
            links_RM[row, i] = max(nodes_C[i], ~nodes_C[i])
            similarities_RM[row, i] = similarities_C[i]
        links_RM[row, kept:] = NO_LINK


@njit(cache=True, nogil=True, fastmath=SUMS)
def select_diverse(
    units_ND: NDArray[np.float32],
    nodes_C: NDArray[np.int32],
    similarities_C: NDArray[np.float32],
    found: int,
    most: int,
) -> int:
    """Move at most `most` diverse candidates to the front, and return their number.

    A candidate is left out if it is nearer to one that was chosen before than to the node that gets the links. Fewer
    candidates than `most` all stay, as hnswlib decides, too.

    Args:
        units_ND: the vectors.
        nodes_C: the candidates, the nearest first; those stored as ~node are known to be diverse among themselves.
        similarities_C: their similarities with the node that gets the links.
        found: the number of candidates.
        most: the number of candidates to choose.
    """
    if found < most:
        return found
    kept = 0
    for candidate in range(found):
        node, similarity = nodes_C[candidate], similarities_C[candidate]
        is_diverse = True
        for i in range(kept):
            other = nodes_C[i]
            if node < 0 and other < 0:
                continue
            if dot(units_ND, NO_SCALES, max(node, ~node), units_ND, max(other, ~other)) > similarity:
                is_diverse = False
                break
        if is_diverse:
            nodes_C[kept], similarities_C[kept] = node, similarity
            kept += 1
            if kept == most:
                break
    return kept
