"""Where a module's v come from: an encoder that learns, or representations that stand still.

Shapes: N texts, B texts of a batch, V vocabulary, D dimensions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.trainer.data import Texts
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import to_device
from astec.trainer.numerics.row_table import RowTable


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


class EncodedFeatures:
    """What an encoder that learns makes of the texts."""

    def __init__(self, encoder: Encoder, texts: Texts) -> None:
        self.encoder, self._texts = encoder, texts
        self.num_texts, self.tables = len(texts), encoder.tables

    def prepare(self, rows_B: NDArray[np.int64], num_own: int) -> tuple[Tensor, ...]:
        """See `Encoder.prepare`."""
        return self.encoder.prepare(self._texts.take(rows_B), num_own)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """v [B, D]."""
        return self.encoder.encode(prepared)
