"""Features as they are: vectors that another model made, of images or sounds (paper, section 5, the vision task)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from astec.export.artifact.manifest import Reads
from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk
from astec.trainer.settings.section import KIND_MEANING, EncoderSection


class DenseSection(EncoderSection):
    """Vectors that stand still."""

    reads: ClassVar[Reads] = "vector"

    kind: Literal["dense"] = Field("dense", description=KIND_MEANING)

    @property
    def learns(self) -> bool:
        """See `EncoderSection.learns`."""
        return False


class Dense(Trunk):
    """v = x. What learns of it is the residual, x-hat = v + ReLU(R v), beside the classifiers."""

    section = DenseSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)

    @classmethod
    def own_embeddings(cls, settings: EncoderSection, dim: int) -> Tensor:
        """None are needed."""
        return torch.empty(0, dim)

    def forward(self, *inputs: Tensor) -> Tensor:
        """See `Trunk.forward`."""
        return inputs[0]

    def write(self, graph: OnnxGraph) -> None:
        """See `Trunk.write`."""
        graph.node("Identity", ["vector"], ["v"])
