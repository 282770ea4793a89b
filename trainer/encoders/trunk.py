"""The base class of the trunks: the part of an encoder from the looked-up embeddings of a text to v.

Shapes: B texts, T words of the longest text, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.settings.section import EncoderSection


class Trunk(nn.Module, ABC):
    """A torch module that computes v [B, D] from the inputs of texts, and writes itself as an ONNX graph.

    The inputs depend on how the encoder reads texts:

    - a bag: the weighted sum of its embeddings, float32 [B, D];
    - words or pieces: their embeddings, float32 [B, T, D], with zeros after a text's last one, and their number,
      int64 [B];
    - a vector: the features unchanged, float32 [B, D].

    The v of a text without a known token is zero.

    Args:
        settings: the settings of this kind of encoder.
        dim: D, the dimensions of the embeddings and of v.
    """

    section: ClassVar[type[EncoderSection]]

    @abstractmethod
    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__()

    @classmethod
    def own_embeddings(cls, settings: EncoderSection, dim: int) -> Tensor | None:
        """Return pretrained embeddings [rows, D]; None if there is one per token or word, trained from the start.

        Raises:
            ValueError: the embeddings cannot be read, or have other dimensions.
        """
        return None

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""

    @abstractmethod
    def write(self, graph: OnnxGraph) -> None:
        """Add the nodes that compute `v` from the inputs: from `bag`, from `rows` and `lengths`, or from `vector`.

        The names of all other values begin with `front.`.
        """


def weights_of(module: nn.Module, name: str = "weight") -> NDArray[np.float32]:
    """Return a parameter of a module as a numpy array."""
    return module.get_parameter(name).detach().cpu().numpy()
