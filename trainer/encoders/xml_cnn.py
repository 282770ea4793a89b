"""XML-CNN: convolutions over the words of a text, dynamic max pooling and a bottleneck (Liu et al., SIGIR 2017).

Shapes: B texts, T words of the longest text, D dimensions, F filters of a window, P chunks.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk, weights_of
from astec.trainer.settings.section import KIND_MEANING, EncoderSection, WordsSection


class XmlCnnSection(WordsSection):
    """The settings of convolutions over words."""

    kind: Literal["xml-cnn"] = Field("xml-cnn", description=KIND_MEANING)
    windows: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (2, 4, 8),
        min_length=1,
        max_length=16,
        description="widths, in words, of the convolutions' windows; more windows: slower, larger",
    )
    filters: int = Field(128, ge=1, le=4096, description="filters of each window; more: more accurate, slower, larger")
    chunks: int = Field(
        4,
        ge=1,
        le=256,
        description="equal parts of the text; each filter's strongest match in each part is kept; more: larger",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.length % self.chunks:
            raise ValueError(f"{self.chunks} chunks of {self.length} words are not equal; make chunks divide length")
        return self


class XmlCnn(Trunk):
    """v = ReLU(W p), where p is the largest ReLU(convolution) in each chunk.

    Without bias, so that the v of an empty text is zero.
    """

    section = XmlCnnSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)
        own = cast(XmlCnnSection, settings)
        self._windows, self._length, self._chunk = own.windows, own.length, own.length // own.chunks
        self.convolutions = nn.ModuleList(nn.Conv1d(dim, own.filters, window, bias=False) for window in own.windows)
        self.bottleneck = nn.Linear(len(own.windows) * own.filters * own.chunks, dim, bias=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        rows_BDT = inputs[0].transpose(1, 2)
        pooled = []
        for window, convolution in zip(self._windows, self.convolutions, strict=True):
            missing = self._length - rows_BDT.shape[2] + window - 1
            matches_BFT = functional.relu(convolution(functional.pad(rows_BDT, (0, missing))))
            pooled.append(functional.max_pool1d(matches_BFT, self._chunk).flatten(1))
        return functional.relu(self.bottleneck(torch.cat(pooled, dim=1)))

    def write(self, graph: OnnxGraph) -> None:
        """Add the convolutions, the pooling and the bottleneck to the graph."""
        graph.node("Transpose", ["rows"], ["front.rows"], perm=[0, 2, 1])
        graph.node("Shape", ["front.rows"], ["front.words"], start=2)
        graph.array("front.length", np.array([self._length]))
        graph.node("Sub", ["front.length", "front.words"], ["front.missing"])
        graph.array("front.before", np.zeros(5, np.int64))
        graph.node("Concat", ["front.before", "front.missing"], ["front.padding"], axis=0)
        graph.node("Pad", ["front.rows", "front.padding"], ["front.padded"])
        parts = []
        for number, (window, convolution) in enumerate(zip(self._windows, self.convolutions, strict=True)):
            name = f"front.{number}"
            weights = graph.array(f"{name}.weights", weights_of(convolution))
            graph.node("Conv", ["front.padded", weights], [f"{name}.matches"], pads=[0, window - 1])
            graph.node("Relu", [f"{name}.matches"], [f"{name}.positive"])
            size = [self._chunk]
            graph.node("MaxPool", [f"{name}.positive"], [f"{name}.largest"], kernel_shape=size, strides=size)
            graph.node("Flatten", [f"{name}.largest"], [f"{name}.flat"])
            parts.append(f"{name}.flat")
        graph.node("Concat", parts, ["front.pooled"], axis=1)
        bottleneck = graph.array("front.bottleneck", weights_of(self.bottleneck).T)
        graph.node("MatMul", ["front.pooled", bottleneck], ["front.product"])
        graph.node("Relu", ["front.product"], ["v"])
