"""Many texts in chunks, so that only one chunk's intermediate results are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences

CHUNK_ROWS = 20_000


def text_chunks(texts: TextTable) -> Iterator[list[str]]:
    """Yield the texts in order, at most `CHUNK_ROWS` at a time."""
    for begin in range(0, len(texts), CHUNK_ROWS):
        yield texts[begin : begin + CHUNK_ROWS]


def join_bags(chunks: Sequence[Bags]) -> Bags:
    """Concatenate the bags of all chunks."""
    return Bags(
        np.concatenate([chunk.ids for chunk in chunks]),
        np.concatenate([chunk.weights for chunk in chunks]),
        _join_offsets(chunks),
    )


def join_sequences(chunks: Sequence[Sequences]) -> Sequences:
    """Concatenate the sequences of all chunks."""
    return Sequences(np.concatenate([chunk.ids for chunk in chunks]), _join_offsets(chunks))


def _join_offsets(chunks: Sequence[Bags] | Sequence[Sequences]) -> NDArray[np.int64]:
    lengths = np.concatenate([chunk.lengths() for chunk in chunks])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
