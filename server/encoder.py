"""Bags of tokens to representations: a sum of embeddings, and the artifact's ONNX graph after it.

Shapes: B queries, D dimensions (d of the indices, D~ of the re-ranker).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.artifact.store import Artifact


class Representations(NamedTuple):
    """Of B queries, float32: `v` and `x_hat` [B, D], and `z` [B, d], with which the indices are searched.

    `x_tilde` is [B, D~], [B, 0] without a re-ranker.
    """

    v: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]


class Encoder:
    """The embeddings of an artifact and an onnxruntime session, on the calling thread. Thread-safe."""

    def __init__(self, artifact: Artifact) -> None:
        self._embeddings, self._reranker_embeddings = artifact.embeddings, artifact.reranker_embeddings
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        # A model this small is done before a second thread has woken up; parallelism comes from batches and workers.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What a run needs is little and gone at its end: to plan and keep it took longer than to ask for it.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = False
        path = str(artifact.encoder_path)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # Without a projection the indices are searched with v.
        projected = any(output.name == "z" for output in self._session.get_outputs())
        self._outputs = ["v", "z" if projected else "v", "x_hat"]
        if self._reranker_embeddings is not None:
            self._outputs.append("x_tilde")

    def encode(self, bags: Bags) -> Representations:
        """The representations of B bags; an empty bag gives zeros."""
        inputs = {"bag": self._embeddings.bag(bags)}
        if self._reranker_embeddings is not None:
            inputs["bag_tilde"] = self._reranker_embeddings.bag(bags)
        outputs = self._session.run(self._outputs, inputs)
        if self._reranker_embeddings is None:
            outputs.append(np.empty((len(bags), 0), np.float32))
        return Representations(*outputs)
