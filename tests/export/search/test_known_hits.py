"""Neighbours found before, behind the interface of an index."""

from __future__ import annotations

import numpy as np

from astec.export.artifact.index.flat import FlatIndex
from astec.export.search.known_hits import Hits

# Vectors along a quarter of a circle: the nearest neighbours of a vector are those beside it.
ANGLES = np.linspace(0, np.pi / 2, 6)
INDEX = FlatIndex(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32))
QUERIES = INDEX.vectors()[[0, 2, 5]]


def found(hits: Hits, k: int) -> tuple[list[list[int]], list[list[float]]]:
    ids_RK, similarities_RK = hits.search(QUERIES, k)
    return ids_RK.tolist(), similarities_RK.tolist()


def test_they_are_what_the_index_finds_as_many_as_are_asked_for() -> None:
    hits = Hits.find(INDEX, QUERIES, 4)
    assert hits.count == INDEX.count
    for k in (1, 4):
        assert found(hits, k) == tuple(part.tolist() for part in INDEX.search(QUERIES, k))


def test_the_hits_of_some_texts() -> None:
    hits = Hits.find(INDEX, QUERIES, 3)
    some = hits.take(slice(1, 3))
    assert some.count == INDEX.count
    assert found(some, 2)[0] == found(hits, 2)[0][1:]


def test_what_was_found_cannot_be_changed_by_who_asks() -> None:
    hits = Hits.find(INDEX, QUERIES, 3)
    before = found(hits, 3)
    hits.search(QUERIES, 3)[0][:] = 7
    assert found(hits, 3) == before
