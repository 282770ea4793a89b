"""The file of an hnswlib index, and its verification, because hnswlib trusts every number that it reads.

The file holds a header, then a record for each node (its links at the lowest level, its vector, its label), then for
each node the size in bytes of its lists of links in the upper levels and these lists. A list begins with its number of
links.

Shapes: N nodes, D dimensions, M links of a list at most, R lists of the upper levels.
"""

from __future__ import annotations

import struct
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.hnsw_graph import NO_LINK, HnswGraph
from astec.export.artifact.storage.checked_arrays import is_finite, require

_HEADER = struct.Struct("<6QiI3QdQ")
_MAX_M = 2**15  # more links than hnswlib allows, and their number leaves the flag bits of its 32 bits free
_MAX_NODES = 2**31
_CHUNK_NODES = 65_536  # a copy of all links may not fit in memory
_COUNT_MASK = 0xFFFF  # of the number before a list of links; the other half are flags


class _Header(NamedTuple):
    level0_begin: int
    max_nodes: int
    num_nodes: int
    node_bytes: int
    label_begin: int
    vector_begin: int
    top_level: int
    entry: int
    max_links: int
    max_level0_links: int
    m: int
    level_factor: float
    ef_construction: int


def write_file(path: Path, units_ND: NDArray[np.float32], graph: HnswGraph, ef_construction: int) -> None:
    """Write vectors of unit norm, or zeros, and the graph over them as hnswlib does, for its metric "cosine".

    Raises:
        OSError: the file was not written completely.
    """
    (count, dim), m = units_ND.shape, graph.upper_links.shape[1]
    record = np.dtype([("links", "<u4", 1 + 2 * m), ("vector", "<f4", dim), ("label", "<u8")])
    header = _Header(
        level0_begin=0,
        max_nodes=count,
        num_nodes=count,
        node_bytes=record.itemsize,
        label_begin=record.itemsize - 8,
        vector_begin=4 * (1 + 2 * m),
        top_level=int(graph.upper_bounds[graph.entry + 1] - graph.upper_bounds[graph.entry]),
        entry=int(graph.upper_nodes[graph.entry]),
        max_links=m,
        max_level0_links=2 * m,
        m=m,
        level_factor=1 / log(m),
        ef_construction=ef_construction,
    )
    with path.open("wb") as stream:
        stream.write(_HEADER.pack(*header))
        for first in range(0, count, _CHUNK_NODES):
            nodes = slice(first, first + _CHUNK_NODES)
            records = np.empty(len(units_ND[nodes]), record)
            records["links"] = _list_records(graph.links[nodes])
            records["vector"] = units_ND[nodes]
            records["label"] = np.arange(first, first + len(records))
            stream.write(records.data.cast("B"))
        stream.write(_upper_words(graph).data.cast("B"))


def require_sound_file(path: Path, dim: int) -> None:
    """Verify every number of an hnswlib index, so that no search reads outside of its memory.

    Raises:
        ValueError: the file is missing or truncated, its vectors have another dimension or are not finite, or a number
            in it does not lead to one of its nodes.
    """
    try:
        content = np.asarray(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    try:
        header = _read_header(content, dim)
        end = _HEADER.size + header.num_nodes * header.node_bytes
        records_N = content[_HEADER.size : end].reshape(header.num_nodes, header.node_bytes)
        for first in range(0, header.num_nodes, _CHUNK_NODES):
            _require_sound_nodes(records_N[first : first + _CHUNK_NODES], first, header)
        _require_sound_levels(content[end:], header)
    except ValueError as error:
        raise ValueError(f"{path.name} is no whole HNSW graph: {error}; export again") from error


def _list_records(links_RM: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Return the records of lists of links, [R, 1 + M]: their number of links, then the links."""
    is_link_RM = links_RM != NO_LINK
    counts_R1 = np.count_nonzero(is_link_RM, axis=1, keepdims=True)
    return np.hstack([counts_R1, np.where(is_link_RM, links_RM, 0)]).astype(np.uint32)


def _upper_words(graph: HnswGraph) -> NDArray[np.uint32]:
    """Return for each node the size in bytes of its lists in the upper levels, then these lists."""
    upper_links_RM = graph.upper_links
    width = 1 + upper_links_RM.shape[1]
    levels_U = np.diff(graph.upper_bounds)
    words = np.zeros(len(graph.links) + len(upper_links_RM) * width, np.uint32)
    # Before a node come one word for each earlier node, and the earlier lists.
    words[graph.upper_nodes + graph.upper_bounds[:-1].astype(np.int64) * width] = 4 * width * levels_U
    ids_RM = np.where(upper_links_RM == NO_LINK, np.int32(NO_LINK), graph.upper_nodes[upper_links_RM])
    begins_R = 1 + np.repeat(graph.upper_nodes, levels_U) + np.arange(len(ids_RM)) * width
    words[begins_R[:, None] + np.arange(width)] = _list_records(ids_RM)
    return words


def _link_lists(records: NDArray[np.generic]) -> NDArray[np.int32]:
    """Return lists of links, [R, M], filled up with NO_LINK, from records that begin with their number of links."""
    numbers = np.ascontiguousarray(records).view(np.uint32)
    counts = numbers[:, :1] & _COUNT_MASK
    links = numbers[:, 1:].astype(np.int32)
    links[np.arange(links.shape[1]) >= counts] = NO_LINK
    return links


def _read_header(content: NDArray[np.uint8], dim: int) -> _Header:
    """Read the header and verify that it fits the dimension and the file; Python's integers cannot overflow."""
    if len(content) < _HEADER.size:
        raise ValueError(f"it has {len(content)} bytes, fewer than its header of {_HEADER.size}")
    header = _Header(*_HEADER.unpack(content[: _HEADER.size].tobytes()))
    if (vector_bytes := header.label_begin - header.vector_begin) != 4 * dim:
        raise ValueError(f"it has vectors of {vector_bytes} bytes, not of {dim} dimensions")
    m, count = header.m, header.num_nodes
    if not 1 <= count < _MAX_NODES or not 2 <= m < _MAX_M:
        raise ValueError(f"{count} nodes of {m} links are no graph")
    vector_begin = 4 * (1 + 2 * m)
    node_bytes = vector_begin + 4 * dim + 8
    expected = header._replace(
        level0_begin=0,
        max_nodes=count,
        node_bytes=node_bytes,
        label_begin=node_bytes - 8,
        vector_begin=vector_begin,
        max_links=m,
        max_level0_links=2 * m,
    )
    if header != expected:
        raise ValueError(f"its header is {header}, not {expected}")
    if header.entry >= count or header.top_level < 0:
        raise ValueError(f"a walk begins at node {header.entry} of {count}, in level {header.top_level}")
    least = _HEADER.size + count * (node_bytes + 4)
    if len(content) < least or len(content) % 4:
        raise ValueError(f"it has {len(content)} bytes, and its nodes need {least}")
    return header


def _require_sound_nodes(records: NDArray[np.uint8], first: int, header: _Header) -> None:
    """Raise ValueError unless the records hold valid links, finite vectors and labels in order from `first`."""
    begin, end = header.vector_begin, header.label_begin
    _require_sound_lists(records[:, :begin], header.num_nodes)
    vectors = np.ascontiguousarray(records[:, begin:end]).view(np.float32)
    require(is_finite(vectors), "its vectors hold NaN or infinity")
    labels = np.ascontiguousarray(records[:, end:]).view(np.uint64)[:, 0]
    if not np.array_equal(labels, np.arange(first, first + len(records), dtype=np.uint64)):
        raise ValueError("its nodes are not in the order of their vectors")


def _require_sound_lists(records: NDArray[np.uint8], num_nodes: int) -> NDArray[np.int32]:
    """Return the links of the lists; raise ValueError unless each leads to a node."""
    width = records.shape[1] // 4 - 1
    counts = np.ascontiguousarray(records[:, :4]).view(np.uint32)
    if counts.size and int(counts.max()) > width:
        raise ValueError(f"a node has {int(counts.max())} links, and there is room for {width}")
    links = _link_lists(records)
    if links.size and not NO_LINK <= int(links.min()) <= int(links.max()) < num_nodes:
        raise ValueError(f"a link leads to none of {num_nodes} nodes")
    if (np.count_nonzero(links != NO_LINK, axis=1)[:, None] != counts).any():
        raise ValueError(f"a link leads to none of {num_nodes} nodes")
    return links


def _require_sound_levels(content: NDArray[np.uint8], header: _Header) -> None:
    """Raise ValueError unless every list of an upper level is complete and leads to nodes of that level."""
    list_bytes = 4 * (1 + header.m)
    levels_N, lists = _upper_lists(content, header.num_nodes, list_bytes)
    if levels_N[header.entry] < header.top_level:
        raise ValueError(f"a walk begins in level {header.top_level}, where node {header.entry} is not")
    links_RM = _require_sound_lists(lists, header.num_nodes)
    upper = levels_N[levels_N > 0]
    level_R = np.arange(len(links_RM)) - np.repeat(np.cumsum(upper) - upper, upper)
    if ((levels_N[links_RM] <= level_R[:, None]) & (links_RM != NO_LINK)).any():
        raise ValueError("a link of an upper level leads to a node that is not in it")


def _upper_lists(
    content: NDArray[np.uint8], num_nodes: int, list_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the number of upper levels of each node, int64 [N], and the bytes of their lists, [R, list_bytes]."""
    words = content.view(np.uint32)
    levels_N, parts = np.zeros(num_nodes, np.int64), [np.empty(0, np.uint32)]
    # Most nodes are in no upper level: a zero word is a node without lists, so that only other words are visited.
    filled = np.flatnonzero(words)
    node, at, next_filled = 0, 0, 0
    while next_filled < len(filled) and (node := node + int(filled[next_filled]) - at) < num_nodes:
        size = int(words[filled[next_filled]])
        begin = int(filled[next_filled]) + 1
        at = begin + size // 4
        if size % list_bytes or at > len(words):
            raise ValueError(f"node {node} has lists of {size} bytes, with {list_bytes} for each")
        levels_N[node] = size // list_bytes
        parts.append(words[begin:at])
        node, next_filled = node + 1, int(np.searchsorted(filled, at))
    if node + len(words) - at != num_nodes:
        raise ValueError(f"there are lists for another number of nodes than {num_nodes}")
    return levels_N, np.concatenate(parts).view(np.uint8).reshape(-1, list_bytes)
