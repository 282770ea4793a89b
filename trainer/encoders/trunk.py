"""What encoders differ in: from what is looked up of a text to v.

Shapes: B texts, T words of the longest, D dimensions.
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
    """A module from a text's inputs to v [B, D], and the same as an ONNX graph.

    Of a bag the input is the weighted sum of embeddings, float32 [B, D]. Of words or pieces there are their embeddings,
    float32 [B, T, D] with zeros after the last one of a text, and how many there are, int64 [B]. Features as they are
    come as float32 [B, D]. Of a text without a known token v is zero.

    Args:
        settings: of this kind.
        dim: D, of embeddings and of v.
    """

    section: ClassVar[type[EncoderSection]]

    @abstractmethod
    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__()

    @classmethod
    def own_embeddings(cls, settings: EncoderSection, dim: int) -> Tensor | None:
        """The embeddings [rows, D] that it brings along; None: there is one for each token or word, which starts anew.

        Raises:
            ValueError: they cannot be read, or have other dimensions.
        """
        return None

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """v [B, D]."""

    @abstractmethod
    def write(self, graph: OnnxGraph) -> None:
        """Add the nodes from the inputs to `v`: from `bag`, `rows` and `lengths`, or `vector`.

        Other names begin with `front.`.
        """


def weights_of(module: nn.Module, name: str = "weight") -> NDArray[np.float32]:
    """A parameter, in numpy."""
    return module.get_parameter(name).detach().cpu().numpy()
