"""Vectors from another model, such as embeddings of images, used unchanged (paper, section 5, the vision task)."""

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
    """The settings of vectors that are used unchanged."""

    reads: ClassVar[Reads] = "vector"

    kind: Literal["dense"] = Field("dense", description=KIND_MEANING)

    @property
    def learns(self) -> bool:
        """False: there are no parameters."""
        return False


class Dense(Trunk):
    """v = x, without parameters; only the residual, x-hat = v + ReLU(R v), and the classifiers learn."""

    section = DenseSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)

    @classmethod
    def own_embeddings(cls, settings: EncoderSection, dim: int) -> Tensor:
        """Return an empty table: no embeddings are needed."""
        return torch.empty(0, dim)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the vectors unchanged, [B, D]."""
        return inputs[0]

    def write(self, graph: OnnxGraph) -> None:
        """Add an identity to the graph."""
        graph.node("Identity", ["vector"], ["v"])
