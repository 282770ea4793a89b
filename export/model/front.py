"""The encoder as far as v, which is what encoders differ in: what it reads of a query, and an ONNX graph.

Astec's is a bag of embeddings and ReLU (paper, section 4). What follows, residual and classifiers, is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from astec.export.artifact.manifest import EncoderDescription
from astec.export.model.onnx_graph import OnnxGraph


@dataclass(frozen=True, slots=True)
class Front:
    """An encoder as far as v.

    Attributes:
        description: its kind, and what the graph is given of a query.
        graph: from these inputs to `v`, as ONNX's bytes.
        tokenizer: `tokenizer.json`, where it reads pieces.
    """

    description: EncoderDescription
    graph: bytes
    tokenizer: bytes | None = None

    @property
    def is_bag_of_embeddings(self) -> bool:
        """Whether it is Astec's: v is the bag behind a ReLU, and nothing else."""
        nodes = onnx.load_model_from_string(self.graph).graph.node
        return [(node.op_type, *node.input, *node.output) for node in nodes] == [("Relu", "bag", "v")]


def _bag_of_embeddings() -> Front:
    graph = OnnxGraph()
    graph.input("bag", ["batch", "dim"])
    graph.node("Relu", ["bag"], ["v"])
    return Front(EncoderDescription(), graph.to_bytes({"v": "dim"}))


BAG_OF_EMBEDDINGS = _bag_of_embeddings()
"""v = ReLU(sum_t x_t e_t): Astec's."""
