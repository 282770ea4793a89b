"""Writing an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
MAX_BYTES = 2_000_000_000
"""Of all constants together: protocol buffers end at 2 GiB."""


class OnnxGraph:
    """Nodes and constants so far.

    Args:
        part: a graph to go on from; its inputs and outputs are known by their names.
    """

    def __init__(self, part: bytes | None = None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        if part is not None:
            graph = onnx.load_model_from_string(part).graph
            self._nodes += graph.node
            self._constants += graph.initializer
            self._inputs += graph.input

    @property
    def input_names(self) -> list[str]:
        """Of the whole."""
        return [value.name for value in self._inputs]

    def within(self, prefix: str, known: Mapping[str, str]) -> OnnxGraph:
        """The same graph to one who knows some values by other names; all other names are his own, behind a prefix."""
        return _Scope(self, prefix, known)

    def input(self, name: str, axes: Sequence[str | int], dtype: type[np.generic] = np.float32) -> None:
        """An input of the whole, its axes by name or length."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(axes)))

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:  # noqa: ANN401 - as onnx declares them
        """An operator from named values to named values."""
        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))

    def array(self, name: str, values: NDArray[Any]) -> str:
        """A constant; returns its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def to_bytes(self, outputs: Mapping[str, int | str]) -> bytes:
        """The whole, whose outputs [B, D] have these names and lengths, or names of a length.

        Raises:
            ValueError: it is larger than ONNX can be.
        """
        size = sum(constant.ByteSize() for constant in self._constants)
        if size > MAX_BYTES:
            raise ValueError(
                f"the encoder's matrices have {size} bytes, and an ONNX graph may have {MAX_BYTES}: train with a "
                "smaller model.dim"
            )
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in outputs.items()]
        graph = helper.make_graph(self._nodes, "astec_encoder", self._inputs, values, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        serialized: bytes = model.SerializeToString()
        return serialized


class _Scope(OnnxGraph):
    def __init__(self, outer: OnnxGraph, prefix: str, known: Mapping[str, str]) -> None:
        super().__init__()
        self._outer, self._prefix, self._known = outer, prefix, known

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:  # noqa: ANN401 - as onnx declares them
        """See `OnnxGraph.node`."""
        self._outer.node(kind, self._names(inputs), self._names(outputs), **attributes)

    def array(self, name: str, values: NDArray[Any]) -> str:
        """See `OnnxGraph.array`."""
        self._outer.array(self._prefix + name, values)
        return name

    def _names(self, names: Sequence[str]) -> list[str]:
        return [self._known.get(name, self._prefix + name) for name in names]
