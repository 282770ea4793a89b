"""A bag of embeddings: Astec's encoder (paper, section 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk
from astec.trainer.settings.section import EncoderSection


class BagOfEmbeddings(Trunk):
    """v = ReLU(sum_t x_t e_t)."""

    section = EncoderSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        return functional.relu(inputs[0])

    def write(self, graph: OnnxGraph) -> None:
        """Add the ReLU to the graph."""
        graph.node("Relu", ["bag"], ["v"])
