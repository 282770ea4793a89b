"""Where a module's v come from: token embeddings that learn, or representations that stand still.

Shapes: N texts, B texts of a batch, T their tokens, U distinct tokens, V vocabulary, D dimensions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.artifact.featurizer import Bags
from trainer.model import embed
from trainer.rows import RowTable
from trainer.tensors import to_device

_ENCODE_TEXTS = 4096


class Features(Protocol):
    """The v of a batch of texts."""

    num_texts: int
    tables: dict[str, RowTable]
    """What learns, by name."""

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """Gather what `encode` needs of the texts of a batch; may run on another thread.

        Args:
            rows_B: the texts of all processes.
            num_own: so many, the first, are this process's and encoded.
        """

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """v of the own texts, [B, D]."""


class FrozenFeatures:
    """Representations of all texts, float32 [N, D], computed before."""

    def __init__(self, v_ND: NDArray[np.float32], device: torch.device) -> None:
        self._v_ND, self._device = v_ND, device
        self.num_texts = len(v_ND)
        self.tables: dict[str, RowTable] = {}

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """The representations of the own texts."""
        return (to_device(self._v_ND[rows_B[:num_own]], self._device),)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """v [B, D]."""
        return prepared[0]


class BagFeatures:
    """v = ReLU(sum_t x_t e_t) over token embeddings e that learn (paper, section 4).

    Args:
        bags: of all texts.
        embeddings_VD: where the embeddings start from; updated in place.
    """

    def __init__(self, bags: Bags, embeddings_VD: Tensor) -> None:
        self._bags = bags
        self.embeddings = RowTable(embeddings_VD)
        self.num_texts = len(bags)
        self.tables = {"embeddings": self.embeddings}

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """Distinct tokens [U] of all texts, and the own texts' bags over 0..U-1: ids [T], weights [T], starts [B].

        With the tokens of all, processes that split a batch hold gradients of the same rows: summing them takes no
        talk of who has which, and moves what the batch uses, not the table.
        """
        bags = self._bags.take(rows_B)
        tokens_U, ids_T = np.unique(bags.ids, return_inverse=True)
        own_T = slice(bags.offsets[num_own])
        arrays = (tokens_U, ids_T[own_T], bags.weights[own_T], bags.offsets[:num_own])
        return tuple(to_device(array, self.embeddings.weight.device) for array in arrays)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """v [B, D]."""
        tokens_U, ids_T, weights_T, starts_B = prepared
        return embed(self.embeddings.gather(tokens_U), ids_T, weights_T, starts_B)


def random_embeddings(num_features: int, dim: int, generator: torch.Generator) -> Tensor:
    """Token embeddings [V, D] with rows of about unit norm."""
    return torch.randn(num_features, dim, generator=generator).mul_(dim**-0.5)


def encode(embeddings_VD: Tensor, bags: Bags) -> NDArray[np.float32]:
    """The intermediate representations v of all texts, float32 [N, D]."""
    v_ND = np.empty((len(bags), embeddings_VD.shape[1]), np.float32)
    for begin in range(0, len(bags), _ENCODE_TEXTS):
        end = min(begin + _ENCODE_TEXTS, len(bags))
        chunk = bags.take(np.arange(begin, end))
        ids, weights, starts = (
            to_device(array, embeddings_VD.device) for array in (chunk.ids, chunk.weights, chunk.offsets[:-1])
        )
        v_ND[begin:end] = embed(embeddings_VD, ids, weights, starts).cpu().numpy()
    return v_ND
