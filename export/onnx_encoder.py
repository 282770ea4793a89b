"""The checkpoint's encoder as an ONNX graph: token ids and weights in; v, z, x-hat and, of a re-ranker, x-tilde out.

Tokens come padded, [B, T] with weight 0, because one matrix product per query over the gathered embeddings ran 1.5 to
2 times faster in onnxruntime than scattering a ragged list of tokens, and because an empty bag needs no special case.
Residuals of several learners are a product each: one batched product, or one with the block-diagonal matrix, took 1.1
to 2 times as long, the more the larger the batch.
The arrays lie beside the graph as external data, which onnxruntime maps, so that all workers share one copy. They are
written here, because onnx's own writer takes copies of them and none larger than 2 GiB.

Shapes: B queries, T tokens of the longest, V vocabulary, D dimensions, d of the indices, H learners.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.checkpoint import DenseArrays

OPSET = 18
IR_VERSION = 9
_PAGE_BYTES = 4096


def write_encoder(
    path: Path,
    weights_name: str,
    model: DenseArrays,
    reranker: DenseArrays | None,
    projection_Dd: NDArray[np.float32] | None = None,
) -> None:
    """Write the graph to `path` and its arrays to `weights_name` beside it.

    v = ReLU(sum_t x_t e_t) and x-hat = v + ReLU(R v), and x-tilde likewise, section 4 of the paper; z = v P is what the
    indices are searched with. Without a projection P it is v, and there is no such output.
    """
    with path.with_name(weights_name).open("wb") as weights:
        graph = _Graph(weights, weights_name)
        graph.encode(model, "v", "x_hat")
        dims = {"v": model.embeddings.shape[1], "x_hat": model.embeddings.shape[1]}
        if projection_Dd is not None:
            graph.array("projection", projection_Dd)
            graph.node("MatMul", ["v", "projection"], ["z"])
            dims["z"] = projection_Dd.shape[1]
        if reranker is not None:
            graph.encode(reranker, "v_tilde", "x_tilde")
            dims["x_tilde"] = reranker.embeddings.shape[1]
    path.write_bytes(graph.model(dims).SerializeToString())
    onnx.checker.check_model(path)


class _Graph:
    """Nodes and constants so far.

    Args:
        weights: takes the arrays.
        location: the name of its file, which lies beside that of the graph.
    """

    def __init__(self, weights: BinaryIO, location: str) -> None:
        self._weights, self._location = weights, location
        self._constants = [numpy_helper.from_array(np.array([1], np.int64), "middle_axis")]
        self._nodes: list[onnx.NodeProto] = []
        self.node("Unsqueeze", ["token_weights", "middle_axis"], ["weight_rows"])

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:  # noqa: ANN401 - as onnx declares them
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def array(self, name: str, values: NDArray[np.float32]) -> None:
        """A constant, written to the file of weights at the beginning of a page, where mapping wants it."""
        offset = self._weights.tell() + -self._weights.tell() % _PAGE_BYTES
        self._weights.seek(offset)
        self._weights.write(np.ascontiguousarray(values).data)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": self._location, "offset": offset, "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._constants.append(tensor)

    def encode(self, arrays: DenseArrays, v: str, x: str) -> None:
        """The representations `v` and `x`; the names of all between begin with theirs."""
        self.array(f"{v}.embeddings", arrays.embeddings)
        self.node("Gather", [f"{v}.embeddings", "token_ids"], [f"{v}.tokens"], axis=0)
        self.node("MatMul", ["weight_rows", f"{v}.tokens"], [f"{v}.bag_rows"])
        self.node("Squeeze", [f"{v}.bag_rows", "middle_axis"], [f"{v}.bag"])
        self.node("Relu", [f"{v}.bag"], [v])
        self._residual(arrays.residuals, v, f"{x}.residual")
        self.node("Relu", [f"{x}.residual"], [f"{x}.moved"])
        self.node("Add", [v, f"{x}.moved"], [x])

    def model(self, dims: dict[str, int]) -> onnx.ModelProto:
        """The whole, whose outputs have these names and dimensions."""
        graph = helper.make_graph(
            self._nodes,
            "astec_encoder",
            [
                helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"]),
                helper.make_tensor_value_info("token_weights", TensorProto.FLOAT, ["batch", "tokens"]),
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim]) for name, dim in dims.items()],
            self._constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

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
