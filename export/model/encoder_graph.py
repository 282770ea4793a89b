"""The encoder of a checkpoint after its embeddings, as an ONNX graph with the outputs v, z, x-hat and x-tilde.

`astec.export.artifact.encoder.inputs` makes the graph's inputs from a query and a table of embeddings that the workers
share. The other weights are small matrices, 0.4 MB for a residual of 300 dimensions. They are in the graph itself:
onnxruntime makes copies of its own in any case, packed for its products. The residual of each learner is a product of
its own: one batched product, or one product with the block-diagonal matrix, took 1.1 to 2 times as long, most with
large batches.

Shapes: B queries, D dimensions (D~ of the re-ranker), d of the indices, H learners.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from astec.export.artifact.encoder.inputs import GraphInputs
from astec.export.model.checkpoint import DenseArrays
from astec.export.model.onnx_graph import OnnxGraph


def write_encoder(
    path: Path,
    model: DenseArrays,
    reranker: DenseArrays | None = None,
    projection_Dd: NDArray[np.float32] | None = None,
) -> None:
    """Write the graph that `encoder_graph` makes from the same arguments to `path`.

    Raises:
        ValueError: the matrices are too large.
    """
    path.write_bytes(encoder_graph(model, reranker, projection_Dd))


def encoder_graph(
    model: DenseArrays, reranker: DenseArrays | None = None, projection_Dd: NDArray[np.float32] | None = None
) -> bytes:
    """Return the graph from the model's inputs to `v` and `x_hat`, and from `bag_tilde` [B, D~] to `x_tilde`, in ONNX.

    The model's front computes v; then x-hat = v + ReLU(R v), and x-tilde likewise from v~ = ReLU(bag~) (section 4 of
    the paper). The indices are searched with z = v P; without a projection P, they are searched with v, and the graph
    has no output `z`.

    Raises:
        ValueError: the matrices are too large.
    """
    graph = OnnxGraph(model.front.graph)
    _add_residual(graph, model.residuals, "v", "x_hat")
    outputs = {"v": model.dim, "x_hat": model.dim}
    if projection_Dd is not None:
        graph.array("projection", projection_Dd)
        graph.node("MatMul", ["v", "projection"], ["z"])
        outputs["z"] = projection_Dd.shape[1]
    if reranker is not None:
        graph.input("bag_tilde", ["batch", reranker.dim])
        graph.node("Relu", ["bag_tilde"], ["v_tilde"])
        _add_residual(graph, reranker.residuals, "v_tilde", "x_tilde")
        outputs["x_tilde"] = reranker.dim
    return graph.to_bytes(outputs)


def run_encoder(graph: bytes, inputs: GraphInputs) -> dict[str, NDArray[np.float32]]:
    """Run a graph on its inputs by name and return its outputs by name."""
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _add_residual(graph: OnnxGraph, residuals_HDD: NDArray[np.float32], v: str, x: str) -> None:
    """Add x = v + ReLU(R v), with a block of R for each learner; the names of all values between begin with `x`."""
    learners = [str(learner) for learner in range(len(residuals_HDD))]
    for learner, residual_DD in zip(learners, residuals_HDD, strict=True):
        graph.array(f"{x}.residual.transposed.{learner}", residual_DD.T)
    if len(learners) == 1:
        graph.node("MatMul", [v, f"{x}.residual.transposed.0"], [f"{x}.residual"])
    else:
        parts = [f"{x}.residual.input.{learner}" for learner in learners]
        products = [f"{x}.residual.product.{learner}" for learner in learners]
        graph.node("Split", [v], parts, axis=1, num_outputs=len(parts))
        for learner, part, product in zip(learners, parts, products, strict=True):
            graph.node("MatMul", [part, f"{x}.residual.transposed.{learner}"], [product])
        graph.node("Concat", products, [f"{x}.residual"], axis=1)
    graph.node("Relu", [f"{x}.residual"], [f"{x}.moved"])
    graph.node("Add", [v, f"{x}.moved"], [x])
