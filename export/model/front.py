"""The front of an encoder, which computes v from a query: its inputs, and an ONNX graph. Encoders differ only in it.

Astec's front is a bag of embeddings and ReLU (paper, section 4). The following residual and classifiers are the same
for all encoders.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from astec.export.artifact.manifest import EncoderDescription
from astec.export.model.onnx_graph import OnnxGraph


@dataclass(frozen=True, slots=True)
class Front:
    """The part of an encoder that computes v.

    Attributes:
        description: the encoder's kind, and the inputs of the graph.
        graph: the ONNX graph from these inputs to `v`.
        tokenizer: the content of `tokenizer.json`, where the encoder reads pieces; else None.
    """

    description: EncoderDescription
    graph: bytes
    tokenizer: bytes | None = None

    @property
    def is_bag_of_embeddings(self) -> bool:
        """Whether it is Astec's front: v is the ReLU of the bag, and nothing else."""
        nodes = onnx.load_model_from_string(self.graph).graph.node
        return [(node.op_type, *node.input, *node.output) for node in nodes] == [("Relu", "bag", "v")]


def _bag_of_embeddings() -> Front:
    graph = OnnxGraph()
    graph.input("bag", ["batch", "dim"])
    graph.node("Relu", ["bag"], ["v"])
    return Front(EncoderDescription(), graph.to_bytes({"v": "dim"}))


BAG_OF_EMBEDDINGS = _bag_of_embeddings()
"""Astec's front: v = ReLU(sum_t x_t e_t)."""
