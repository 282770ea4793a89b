"""Words pooled by attention: the weight of each word is learnt, and depends on that word alone.

After Lin et al., ICLR 2017, with one layer.

Shapes: B texts, T words of the longest text, H heads, D dimensions.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk, weights_of
from astec.trainer.settings.section import KIND_MEANING, EncoderSection, WordsSection

_NEVER = -1e9


class AttentionSection(WordsSection):
    """The settings of pooling by attention."""

    kind: Literal["attention"] = Field("attention", description=KIND_MEANING)
    heads: int = Field(
        4,
        ge=1,
        le=64,
        description="equal parts of v, each with its own weights of the words; model.dim must be a multiple",
    )


class Attention(Trunk):
    """v = ReLU(all heads side by side); a head is the softmax-weighted mean of its part of the words' embeddings."""

    section = AttentionSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)
        own = cast(AttentionSection, settings)
        self._heads, self._length = own.heads, own.length
        if dim % self._heads:
            raise ValueError(f"model.dim is {dim}, which {self._heads} heads cannot share; make it a multiple")
        self.salience = nn.Linear(dim, self._heads, bias=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        rows_BTD, lengths_B = inputs
        beyond_BT = torch.arange(rows_BTD.shape[1], device=rows_BTD.device) >= lengths_B[:, None]
        salience_BTH = self.salience(rows_BTD).masked_fill(beyond_BT[:, :, None], _NEVER)
        # A text without words has equal weights for rows of zeros, so that its v is zero.
        weights_BTH = salience_BTH.softmax(dim=1)
        parts_BTHD = rows_BTD.view(*rows_BTD.shape[:2], self._heads, -1)
        return functional.relu((weights_BTH[:, :, :, None] * parts_BTHD).sum(dim=1).flatten(1))

    def write(self, graph: OnnxGraph) -> None:
        """Add the softmax and the weighted means to the graph."""
        first, second, last = (graph.array(f"front.axis.{axis}", np.array([axis])) for axis in (0, 1, -1))
        positions = graph.array("front.positions", np.arange(self._length, dtype=np.int32))
        never = graph.array("front.never", np.array(_NEVER, np.float32))
        graph.node("Shape", ["rows"], ["front.words"], start=1, end=2)
        graph.node("Slice", [positions, first, "front.words"], ["front.read"])
        graph.node("Unsqueeze", ["lengths", second], ["front.ends"])
        graph.node("Less", ["front.read", "front.ends"], ["front.within"])
        graph.node("Unsqueeze", ["front.within", last], ["front.known"])
        graph.node("MatMul", ["rows", graph.array("front.salience", weights_of(self.salience).T)], ["front.products"])
        graph.node("Where", ["front.known", "front.products", never], ["front.saliences"])
        graph.node("Softmax", ["front.saliences"], ["front.weights"], axis=1)
        graph.node("Unsqueeze", ["front.weights", last], ["front.shares"])
        graph.node("Reshape", ["rows", graph.array("front.heads", np.array([0, 0, self._heads, -1]))], ["front.parts"])
        graph.node("Mul", ["front.shares", "front.parts"], ["front.weighted"])
        graph.node("ReduceSum", ["front.weighted", second], ["front.means"], keepdims=0)
        graph.node("Flatten", ["front.means"], ["front.sides"])
        graph.node("Relu", ["front.sides"], ["v"])
