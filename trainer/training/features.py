"""The source of a module's v: an encoder that learns, or fixed representations.

Shapes: N texts, B texts of a batch, V vocabulary, D dimensions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.trainer.data.examples import Texts
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import to_device
from astec.trainer.numerics.row_table import RowTable


class Features(Protocol):
    """Makes v of a batch of texts."""

    num_texts: int
    tables: dict[str, RowTable]
    """The parameters that learn, by name."""

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """Gather the input of `encode` for the texts of a batch; may run on another thread.

        Args:
            rows_B: the texts of all processes.
            num_own: how many texts, from the first, belong to this process, which encodes them.
        """

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """Return v of this process's texts, [B, D]."""


class FrozenFeatures:
    """Fixed representations of all texts, float32 [N, D]."""

    def __init__(self, v_ND: NDArray[np.float32], device: torch.device) -> None:
        self._v_ND, self._device = v_ND, device
        self.num_texts = len(v_ND)
        self.tables: dict[str, RowTable] = {}

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """Return the representations of this process's texts."""
        return (to_device(self._v_ND[rows_B[:num_own]], self._device),)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """Return v [B, D]."""
        return prepared[0]


class EncodedFeatures:
    """Representations by an encoder that learns."""

    def __init__(self, encoder: Encoder, texts: Texts) -> None:
        self.encoder, self._texts = encoder, texts
        self.num_texts, self.tables = len(texts), encoder.tables

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """Gather the input of the encoder for the texts of a batch."""
        return self.encoder.prepare(self._texts.take(rows_B), num_own)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """Return v [B, D]."""
        return self.encoder.encode(prepared)
