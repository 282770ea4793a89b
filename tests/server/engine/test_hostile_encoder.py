"""Hostile graphs in an artifact: each is refused by name before a kernel reads its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from astec.export.artifact.storage.array_file import map_bytes
from astec.export.artifact.store import ENCODER_FILE, Artifact, open_artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.onnx_graph import IR_VERSION, OPSET
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.engine.query_encoder import QueryEncoder

DIM, SHORTLIST_DIM = 16, 8
WIDTHS = {"v": DIM, "z": SHORTLIST_DIM, "x_hat": DIM}


@pytest.fixture(scope="module")
def artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    path, checkpoint = tmp_path_factory.mktemp("encoder") / "artifact", make_checkpoint(parts=False)
    pack(checkpoint, build_indices(checkpoint, dim=SHORTLIST_DIM), path, name="demo")
    return open_artifact(path)


@pytest.fixture
def open_encoder(artifact: Artifact, tmp_path: Path) -> Callable[[bytes], QueryEncoder]:
    """The encoder of the artifact, with other bytes in place of its graph."""

    def opened(graph: bytes) -> QueryEncoder:
        (tmp_path / ENCODER_FILE).write_bytes(graph)
        return QueryEncoder(replace(artifact, encoder_graph=map_bytes(tmp_path / ENCODER_FILE), head=None))

    return opened


def projections(widths: dict[str, int], fill: float = 1) -> dict[str, TensorProto]:
    """A matrix for each output, from the bag."""
    return {name: numpy_helper.from_array(matrix(width, fill), f"{name}.matrix") for name, width in widths.items()}


def matrix(width: int, fill: float) -> NDArray[np.float32]:
    return np.full((DIM, width), fill, np.float32)


def graph(
    matrices: dict[str, TensorProto],
    *,
    declared: Mapping[str, int | None] = WIDTHS,
    kind: int = TensorProto.FLOAT,
    bag: str = "bag",
) -> bytes:
    """Products of the bag with matrices, whose outputs are declared to have so many dimensions."""
    nodes = [helper.make_node("MatMul", [bag, tensor.name], [name]) for name, tensor in matrices.items()]
    inputs = [helper.make_tensor_value_info(bag, kind, ["batch", DIM])]
    outputs = [helper.make_tensor_value_info(name, kind, ["batch", declared.get(name)]) for name in matrices]
    made = helper.make_graph(nodes, "hostile", inputs, outputs, list(matrices.values()))
    serialized: bytes = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    ).SerializeToString()
    return serialized


def test_a_graph_as_it_should_be_is_taken(open_encoder: Callable[[bytes], QueryEncoder]) -> None:
    representations = open_encoder(graph(projections(WIDTHS))).encode(
        Bags(np.zeros(1, np.int32), np.ones(1, np.float32), np.array([0, 1, 1]))
    )
    assert [output.shape for output in representations] == [(2, DIM), (2, SHORTLIST_DIM), (2, DIM), (2, 0)]


@pytest.mark.parametrize("output", WIDTHS)
@pytest.mark.parametrize("more", [-1, 1])
def test_outputs_of_other_dimensions_than_declared(
    open_encoder: Callable[[bytes], QueryEncoder], output: str, more: int
) -> None:
    undeclared = dict.fromkeys(WIDTHS)
    with pytest.raises(ArtifactError, match=rf"encoder\.onnx in .* encodes no query: {output} has shape"):
        open_encoder(graph(projections(WIDTHS | {output: WIDTHS[output] + more}), declared=undeclared))


def test_outputs_that_grow_with_what_is_asked(open_encoder: Callable[[bytes], QueryEncoder]) -> None:
    """An empty bag gives outputs of the right shape, any other bag one column more."""
    names = ["v", "z", "x_hat"]
    nodes = [
        helper.make_node("Abs", ["bag"], ["size"]),
        helper.make_node("ReduceSum", ["size"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["has_tokens"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["has_tokens"], ["extra"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["extra", "none"], ["extra_columns"]),
        helper.make_node("Concat", ["none", "extra_columns", "none", "none"], ["pads"], axis=0),
        *(helper.make_node("MatMul", ["bag", f"{name}.matrix"], [f"{name}.product"]) for name in names),
        *(helper.make_node("Pad", [f"{name}.product", "pads"], [name]) for name in names),
    ]
    constants = [
        *projections(WIDTHS).values(),
        numpy_helper.from_array(np.zeros(1, np.int64), "none"),
    ]
    inputs = [helper.make_tensor_value_info("bag", TensorProto.FLOAT, ["batch", DIM])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    made = helper.make_graph(nodes, "growing", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    encoder = open_encoder(model.SerializeToString())
    with pytest.raises(ValueError, match=r"v has shape \(2, 17\), not \(2, 16\)"):
        encoder.encode(Bags(np.zeros(1, np.int32), np.ones(1, np.float32), np.array([0, 1, 1])))
    with pytest.raises(ValueError, match=r"v has shape \(1, 17\), not \(1, 16\)"):
        encoder.encode(Bags(np.zeros(1, np.int32), np.ones(1, np.float32), np.array([0, 1])))


@pytest.mark.parametrize("missing", ["v", "x_hat"])
def test_an_output_that_is_not_there(open_encoder: Callable[[bytes], QueryEncoder], missing: str) -> None:
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* encodes no query"):
        open_encoder(graph(projections({name: width for name, width in WIDTHS.items() if name != missing})))


def test_no_projection_where_the_indices_have_fewer_dimensions(open_encoder: Callable[[bytes], QueryEncoder]) -> None:
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* has no z of 8 dimensions"):
        open_encoder(graph(projections({"v": DIM, "x_hat": DIM})))


def test_an_input_of_another_name(open_encoder: Callable[[bytes], QueryEncoder]) -> None:
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* encodes no query"):
        open_encoder(graph(projections(WIDTHS), bag="sack"))


def test_an_input_of_another_type(open_encoder: Callable[[bytes], QueryEncoder]) -> None:
    doubles = {
        name: numpy_helper.from_array(matrix(width, 1).astype(np.float64), f"{name}.matrix")
        for name, width in WIDTHS.items()
    }
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* encodes no query"):
        open_encoder(graph(doubles, kind=TensorProto.DOUBLE))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", WIDTHS)
def test_a_matrix_that_holds_no_numbers(
    open_encoder: Callable[[bytes], QueryEncoder], output: str, number: float
) -> None:
    matrices = projections(WIDTHS) | {output: projections({output: WIDTHS[output]}, number)[output]}
    with pytest.raises(ArtifactError, match="makes something of nothing: it holds NaN or infinity"):
        open_encoder(graph(matrices))


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/passwd", "inside.bin"])
def test_a_matrix_in_another_file(open_encoder: Callable[[bytes], QueryEncoder], tmp_path: Path, place: str) -> None:
    for path in (tmp_path / "inside.bin", tmp_path.parent / "outside.bin"):
        path.write_bytes(matrix(DIM, 1).tobytes())
    matrices = projections(WIDTHS)
    matrices["v"].ClearField("raw_data")
    matrices["v"].data_location = TensorProto.EXTERNAL
    entry = matrices["v"].external_data.add()
    entry.key, entry.value = "location", place
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* has data outside of its file"):
        open_encoder(graph(matrices))


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_graph_that_is_none(open_encoder: Callable[[bytes], QueryEncoder], kept: int) -> None:
    with pytest.raises(ArtifactError, match=r"encoder\.onnx in .* is no graph that onnxruntime runs"):
        open_encoder(graph(projections(WIDTHS))[:kept])
