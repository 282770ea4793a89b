"""Fully connected layers over a bag of embeddings, as in MACH (Medini et al., NeurIPS 2019).

Shapes: D dimensions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk, weights_of
from astec.trainer.settings.section import KIND_MEANING, EncoderSection


class MlpSection(EncoderSection):
    """The settings of fully connected layers."""

    plain: ClassVar[bool] = False

    kind: Literal["mlp"] = Field("mlp", description=KIND_MEANING)
    layers: int = Field(1, ge=1, le=8, description="fully connected layers after the bag; more: slower")
    hidden: int = Field(500, ge=8, le=4096, description="units of each layer except the last; more: slower, larger")


class Mlp(Trunk):
    """v = ReLU(W ... ReLU(W ReLU(bag))), without bias, so that the v of an empty bag is zero."""

    section = MlpSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)
        own = cast(MlpSection, settings)
        sizes = [dim, *[own.hidden] * (own.layers - 1), dim]
        self.layers = nn.Sequential(*(nn.Linear(wide, narrow, bias=False) for wide, narrow in pairwise(sizes)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        x_BD = functional.relu(inputs[0])
        for layer in self.layers:
            x_BD = functional.relu(layer(x_BD))
        return x_BD

    def write(self, graph: OnnxGraph) -> None:
        """Add the layers to the graph."""
        graph.node("Relu", ["bag"], ["front.0"])
        for number, layer in enumerate(self.layers):
            weights = graph.array(f"front.weights.{number}", weights_of(layer).T)
            last = number == len(self.layers) - 1
            graph.node("MatMul", [f"front.{number}", weights], [f"front.product.{number}"])
            graph.node("Relu", [f"front.product.{number}"], ["v" if last else f"front.{number + 1}"])
