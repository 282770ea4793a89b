"""The ways in which encoders read a batch of texts: which embeddings they look up, and what the trunk is given.

Shapes: B own texts of a batch, T tokens or words of the own texts, U distinct tokens or words of all texts,
D dimensions.
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
from astec.trainer.numerics.bag_sums import sum_bags

Batch = tuple[NDArray[Any], ...]
"""The rows [U] of the embedding table that the texts of a batch need; then the own texts, as indices into these rows.

The own texts are those that this process encodes."""


class Reading(ABC):
    """A way to read texts."""

    @abstractmethod
    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """Return the batch of `texts`, of which the first `num_own` are encoded by this process."""

    @abstractmethod
    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """Compute the trunk's inputs for the own texts of a batch."""

    @abstractmethod
    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """Add the trunk's inputs to a graph."""


class BagReading(Reading):
    """Reads a text as the weighted sum of its tokens' embeddings.

    The own texts of a batch are the tokens' ids [T] and weights [T], and where each text begins [B].
    """

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """Return the batch, with ids, weights and offsets."""
        rows_U, ids_T = np.unique(texts.bags.ids, return_inverse=True)
        own = texts.bags.take(np.arange(num_own))
        return rows_U, ids_T[: len(own.ids)], own.weights, own.offsets[:-1]

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """Compute the weighted sum of each text [B, D]."""
        ids_T, weights_T, starts_B = own
        if rows_UD.device.type == "cpu":
            return (sum_bags(rows_UD, ids_T, weights_T, starts_B),)
        return (functional.embedding_bag(ids_T, rows_UD, starts_B, mode="sum", per_sample_weights=weights_T),)

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """Add the input `bag` to a graph."""
        graph.input("bag", ["batch", dim])


class SequenceReading(Reading):
    """Reads a text as the embeddings of its words or pieces in their order.

    The own texts of a batch are ids [B, longest], padded with U, and lengths [B].
    """

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """Return the batch, with padded ids and lengths.

        Raises:
            ValueError: the texts have no sequences.
        """
        if texts.sequences is None:
            raise ValueError("this encoder reads sequences, and the texts have none")
        rows_U, ids_T = np.unique(texts.sequences.ids, return_inverse=True)
        own = texts.sequences.take(np.arange(num_own))
        lengths_B = own.lengths()
        found = Sequences(ids_T[: len(own.ids)].astype(np.int32), own.offsets)
        return rows_U, found.padded(max(1, int(lengths_B.max(initial=0))), len(rows_U)), lengths_B

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """Look up the embeddings [B, longest, D], zeros for padding, and return them with the lengths."""
        ids_BT, lengths_B = own
        return functional.pad(rows_UD, (0, 0, 0, 1))[ids_BT], lengths_B

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """Add the inputs `rows` and `lengths` to a graph."""
        graph.input("rows", ["batch", "words", dim])
        graph.input("lengths", ["batch"], np.int32)


class VectorReading(Reading):
    """Reads a text's features unchanged as a vector [B, D]; there are no embeddings."""

    def batch(self, texts: Texts, num_own: int, dim: int) -> Batch:
        """Return the batch, with the features as dense vectors."""
        return np.empty(0, np.int64), dense_rows(texts.bags.take(np.arange(num_own)), dim)

    def inputs(self, rows_UD: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors unchanged."""
        return own

    def declare(self, graph: OnnxGraph, dim: int) -> None:
        """Add the input `vector` to a graph."""
        graph.input("vector", ["batch", dim])


READINGS: dict[Reads, Reading] = {
    "bag": BagReading(),
    "words": SequenceReading(),
    "pieces": SequenceReading(),
    "vector": VectorReading(),
}
