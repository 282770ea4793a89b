"""How an encoder reads a batch of texts: which embeddings it needs of a table, and what its trunk makes v of.

Shapes: B own texts of a batch, T tokens or words of them, U distinct ones of all texts, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from astec.export.artifact.encoder.inputs import dense_rows
from astec.export.artifact.manifest import Reads
from astec.export.artifact.text.words import Sequences
from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.data.examples import Texts

Batch = tuple[NDArray[Any], ...]
"""The rows of embeddings [U] that the texts of a batch need, then its own texts in terms of them."""


class Reading(ABC):
    """One of the ways to read texts."""

    @abstractmethod
    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """Of the texts, the first `num_own` are its own."""

    @abstractmethod
    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """What the trunk is given of the own texts of a batch."""

    @abstractmethod
    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """Add the same inputs to a graph."""


class BagReading(Reading):
    """The weighted sum of the tokens' embeddings; own texts are ids [T], weights [T] and where each begins [B]."""

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """See `Reading.batch`."""
        rows_U, ids_T = np.unique(texts.bags.ids, return_inverse=True)
        own = texts.bags.take(np.arange(num_own))
        return rows_U, ids_T[: len(own.ids)], own.weights, own.offsets[:-1]

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """See `Reading.inputs`."""
        ids_T, weights_T, starts_B = own
        return (functional.embedding_bag(ids_T, rows_UD, starts_B, mode="sum", per_sample_weights=weights_T),)

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """See `Reading.declare`."""
        graph.input("bag", ["batch", dim])


class SequenceReading(Reading):
    """Embeddings in the order of the text; own texts are ids [B, longest], U for what is none, and lengths [B]."""

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """See `Reading.batch`.

        Raises:
            ValueError: the texts were not read in their order.
        """
        if texts.sequences is None:
            raise ValueError("this encoder reads sequences, and the texts have none")
        rows_U, ids_T = np.unique(texts.sequences.ids, return_inverse=True)
        own = texts.sequences.take(np.arange(num_own))
        lengths_B = own.lengths()
        found = Sequences(ids_T[: len(own.ids)].astype(np.int32), own.offsets)
        return rows_U, found.padded(max(1, int(lengths_B.max(initial=0))), len(rows_U)), lengths_B

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """See `Reading.inputs`."""
        ids_BT, lengths_B = own
        return functional.pad(rows_UD, (0, 0, 0, 1))[ids_BT], lengths_B

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """See `Reading.declare`."""
        graph.input("rows", ["batch", "words", dim])
        graph.input("lengths", ["batch"], np.int32)


class VectorReading(Reading):
    """Features as they are [B, D], of no embeddings."""

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """See `Reading.batch`."""
        return np.empty(0, np.int64), dense_rows(texts.bags.take(np.arange(num_own)), dim)

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """See `Reading.inputs`."""
        return own

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """See `Reading.declare`."""
        graph.input("vector", ["batch", dim])


READINGS: dict[Reads, Reading] = {
    "bag": BagReading(),
    "words": SequenceReading(),
    "pieces": SequenceReading(),
    "vector": VectorReading(),
}
