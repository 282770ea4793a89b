"""A writer of ONNX graphs, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
MAX_BYTES = 2_000_000_000
"""Limit of the size of all constants together: a protocol buffer holds at most 2 GiB."""


class OnnxGraph:
    """A graph under construction: its nodes and constants so far.

    Args:
        part: a graph to extend; its inputs and outputs keep their names.
    """

    def __init__(self, part: bytes | None = None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._prefix, self._known = "", dict[str, str]()
        if part is not None:
            graph = onnx.load_model_from_string(part).graph
            self._nodes += graph.node
            self._constants += graph.initializer
            self._inputs += graph.input

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs of the whole graph."""
        return [value.name for value in self._inputs]

    def within(self, prefix: str, known: Mapping[str, str]) -> OnnxGraph:
        """Return a view of the graph in which some values have other names, and all other names get a prefix."""
        scope = copy(self)  # a shallow copy, which adds to the same lists
        scope._prefix, scope._known = prefix, dict(known)
        return scope

    def input(self, name: str, axes: Sequence[str | int], dtype: type[np.generic] = np.float32) -> None:
        """Add an input of the whole graph, with its axes by name or length."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(axes)))

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:  # noqa: ANN401 - as onnx declares them
        """Add an operator from named values to named values."""
        self._nodes.append(helper.make_node(kind, self._named(inputs), self._named(outputs), **attributes))

    def array(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), self._prefix + name))
        return name

    def include(self, part: bytes, prefix: str) -> None:
        """Add the nodes and constants of a whole model; its nodes must not contain functions or graphs.

        The inputs and outputs of the model are values of this graph; all its other names get a prefix.
        """
        graph = onnx.load_model_from_string(part).graph
        shared = {value.name for value in (*graph.input, *graph.output)}

        def own(name: str) -> str:
            if not name:  # an optional input that the node does not use
                return name
            return self._named([name if name in shared else prefix + name])[0]

        for node in graph.node:
            node.name = ""
            node.input[:], node.output[:] = map(own, node.input), map(own, node.output)
        for constant in graph.initializer:
            constant.name = own(constant.name)
        self._nodes += graph.node
        self._constants += graph.initializer

    def to_bytes(self, outputs: Mapping[str, int | str]) -> bytes:
        """Return the whole graph, whose outputs [B, D] have these names and lengths, or names of lengths.

        Raises:
            ValueError: the constants are larger than an ONNX graph can hold.
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

    def _named(self, names: Sequence[str]) -> list[str]:
        return [self._known.get(name, self._prefix + name) for name in names]
