"""The checkpoint's encoder after its embeddings, an ONNX graph: bags in; v, z, x-hat and, of a re-ranker, x-tilde out.

A bag is a query's weighted sum of embeddings, which `export.artifact.embeddings` takes of a table that workers share.
What is left are square matrices, 0.4 MB for 300 dimensions. They lie in the graph itself: onnxruntime keeps copies of
its own, packed for its products, wherever they come from.
Residuals of several learners are a product each: one batched product, or one with the block-diagonal matrix, took 1.1
to 2 times as long, the more the larger the batch.

Shapes: B queries, D dimensions (D~ of the re-ranker), d of the indices, H learners.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.checkpoint import DenseArrays

OPSET = 18
IR_VERSION = 9
MAX_BYTES = 2_000_000_000
"""Of the matrices together: protocol buffers end at 2 GiB."""


def write_encoder(
    path: Path,
    model: DenseArrays,
    reranker: DenseArrays | None = None,
    projection_Dd: NDArray[np.float32] | None = None,
) -> None:
    """Write `encoder_graph` of the same arguments to `path`.

    Raises:
        ValueError: the matrices are too large.
    """
    path.write_bytes(encoder_graph(model, reranker, projection_Dd))


def encoder_graph(
    model: DenseArrays, reranker: DenseArrays | None = None, projection_Dd: NDArray[np.float32] | None = None
) -> bytes:
    """The graph from `bag` [B, D] to `v` and `x_hat`, and from `bag_tilde` [B, D~] to `x_tilde`, as ONNX's bytes.

    v = ReLU(bag) and x-hat = v + ReLU(R v), and x-tilde likewise, section 4 of the paper; z = v P is what the indices
    are searched with. Without a projection P it is v, and there is no such output.

    Raises:
        ValueError: the matrices are too large.
    """
    graph, dim = _Graph(), model.embeddings.shape[1]
    graph.encode(model, "bag", "v", "x_hat")
    inputs, outputs = {"bag": dim}, {"v": dim, "x_hat": dim}
    if projection_Dd is not None:
        graph.array("projection", projection_Dd)
        graph.node("MatMul", ["v", "projection"], ["z"])
        outputs["z"] = projection_Dd.shape[1]
    if reranker is not None:
        graph.encode(reranker, "bag_tilde", "v_tilde", "x_tilde")
        inputs["bag_tilde"] = outputs["x_tilde"] = reranker.embeddings.shape[1]
    serialized: bytes = graph.model(inputs, outputs).SerializeToString()
    return serialized


def run_encoder(graph: bytes, bags: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Every output of a graph by name, for its inputs by name."""
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, bags), strict=True))


class _Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self._constants: list[TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:  # noqa: ANN401 - as onnx declares them
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def array(self, name: str, values: NDArray[np.float32]) -> None:
        """A constant."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))

    def encode(self, arrays: DenseArrays, bag: str, v: str, x: str) -> None:
        """The representations `v` and `x` of `bag`; the names of all between begin with theirs."""
        self.node("Relu", [bag], [v])
        self._residual(arrays.residuals, v, f"{x}.residual")
        self.node("Relu", [f"{x}.residual"], [f"{x}.moved"])
        self.node("Add", [v, f"{x}.moved"], [x])

    def model(self, inputs: dict[str, int], outputs: dict[str, int]) -> onnx.ModelProto:
        """The whole, whose inputs and outputs have these names and dimensions.

        Raises:
            ValueError: it is larger than ONNX can be.
        """
        size = sum(constant.ByteSize() for constant in self._constants)
        if size > MAX_BYTES:
            raise ValueError(
                f"the encoder's matrices have {size} bytes, and an ONNX graph may have {MAX_BYTES}: train with a "
                "smaller model.dim"
            )
        graph = helper.make_graph(self._nodes, "astec_encoder", _values(inputs), _values(outputs), self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _residual(self, residuals_HDD: NDArray[np.float32], v: str, name: str) -> None:
        """R v, a block of R for each learner."""
        learners = [str(learner) for learner in range(len(residuals_HDD))]
        for learner, residual_DD in zip(learners, residuals_HDD, strict=True):
            self.array(f"{name}.transposed.{learner}", residual_DD.T)
        if len(learners) == 1:
            self.node("MatMul", [v, f"{name}.transposed.0"], [name])
            return
        parts = [f"{name}.input.{learner}" for learner in learners]
        products = [f"{name}.product.{learner}" for learner in learners]
        self.node("Split", [v], parts, axis=1, num_outputs=len(parts))
        for learner, part, product in zip(learners, parts, products, strict=True):
            self.node("MatMul", [part, f"{name}.transposed.{learner}"], [product])
        self.node("Concat", products, [name], axis=1)


def _values(dims: dict[str, int]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim]) for name, dim in dims.items()]
