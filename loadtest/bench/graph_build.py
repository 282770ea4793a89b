"""The builder of HNSW graphs beside hnswlib's own, on one thread and on two: time and recall on made-up vectors.

Run by hand: `python -m astec.loadtest.bench.graph_build`; it takes minutes.

Shapes: N vectors, B queries, D dimensions, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_file import write_file

NUM_QUERIES = 1_000
NEIGHBOURS = (10, 100)
CLUSTER_SIZE = 50
SPREAD = 0.6
"""The standard deviation in a cluster, where that of the clusters' centres is 1."""


class Case(NamedTuple):
    """A number of vectors, their dimensions, and the parameters of their graph."""

    num_vectors: int
    dim: int
    params: HnswParams


CASES = (Case(100_000, 96, HnswParams(16, 150, 100)), Case(20_000, 300, HnswParams(32, 100, 100)))


def clustered(count: int, dim: int, num_queries: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors [N, D] and queries [B, D], both of unit norm, around the same centres."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((count // CLUSTER_SIZE, dim), np.float32)
    of_each = generator.integers(len(centres), size=count + num_queries)
    noise = generator.standard_normal((count + num_queries, dim), np.float32)
    units = unit_rows(centres[of_each] + np.float32(SPREAD) * noise)
    return units[:count], units[count:]


def built_by_hnswlib(units_ND: NDArray[np.float32], params: HnswParams) -> HnswIndex:
    """Build a graph on one thread, because hnswlib's own graph is the same every time only then."""
    count, dim = units_ND.shape
    library = hnswlib.Index(space="cosine", dim=dim)
    library.init_index(max_elements=count, ef_construction=params.ef_construction, M=params.m, random_seed=0)
    library.add_items(units_ND, num_threads=1)
    return HnswIndex(library, params)


def built_by_us(num_threads: int) -> Callable[[NDArray[np.float32], HnswParams], HnswIndex]:
    """Return a function that builds a graph on some threads, and lets hnswlib search it."""

    def build(units_ND: NDArray[np.float32], params: HnswParams) -> HnswIndex:
        graph = build_graph(units_ND, params, 0, num_threads)
        with TemporaryDirectory() as folder:
            write_file(Path(folder) / "graph", units_ND, graph, params.ef_construction)
            return HnswIndex.load(Path(folder) / "graph", units_ND.shape[1], params)

    return build


def recall(found_BK: NDArray[np.int64], exact_BK: NDArray[np.int64]) -> float:
    """Return the share of the exact neighbours that were found."""
    return float(np.mean([np.isin(exact, found).mean() for found, exact in zip(found_BK, exact_BK, strict=True)]))


def main() -> None:
    """Print a line for each case and builder."""
    built_by_us(1)(clustered(1_000, 8, 0)[0], CASES[0].params)  # compile the kernels
    builders = {
        "hnswlib, 1 thread": built_by_hnswlib,
        "ours, 1 thread": built_by_us(1),
        "ours, 2 threads": built_by_us(2),
    }
    for count, dim, params in CASES:
        units_ND, queries_BD = clustered(count, dim, NUM_QUERIES)
        exact_BK, _ = FlatIndex(units_ND).search(queries_BD, max(NEIGHBOURS))
        print(
            f"{count:,} x {dim}, m {params.m}, ef_construction {params.ef_construction}, ef_search {params.ef_search}"
        )
        for name, build in builders.items():
            begin, cpu_begin = perf_counter(), process_time()
            index = build(units_ND, params)
            us, cpu_us = 1e6 * (perf_counter() - begin) / count, 1e6 * (process_time() - cpu_begin) / count
            recalls = (f"recall@{k} {recall(index.search(queries_BD, k)[0], exact_BK[:, :k]):.4f}" for k in NEIGHBOURS)
            print(f"  {name}: {us:.0f} us a vector, {cpu_us:.0f} us of CPU time;", *recalls, flush=True)


if __name__ == "__main__":
    main()
