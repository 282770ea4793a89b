"""The encoder of queries: the sum of their tokens' embeddings, then the artifact's ONNX graph.

For Astec's own encoder a kernel computes what the graph does, in half of the time for a single query. The choice
between the two does not depend on the batch, so that an answer is the same to the last bit in every batch.

Shapes: B queries, D dimensions (d of the indices, D~ of the re-ranker).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from astec.export.artifact.encoder.head import HEAD_PROJECTION_FILE, HEAD_RESIDUAL_FILE, Head, apply_head
from astec.export.artifact.encoder.inputs import GraphInputs, encoder_inputs
from astec.export.artifact.manifest import Dimensions
from astec.export.artifact.store import ENCODER_FILE, Artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences
from astec.export.artifact.verification import ArtifactError

_EXTERNAL_DATA_KEY = b"location"
"""The key that stands in the bytes of a graph if one of its matrices lies in another file."""

_NUM_TRIED_BAGS = 8
_HEAD_TOLERANCE = 1e-4


class Representations(NamedTuple):
    """The representations of B queries, float32: `v` and `x_hat` [B, D], and `z` [B, d] to search the indices with.

    `x_tilde` is [B, D~], or [B, 0] without a re-ranker.
    """

    v: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]


class QueryEncoder:
    """The embeddings and the onnxruntime session of an artifact. Thread-safe; runs on the calling thread.

    Raises:
        ArtifactError: The graph is no ONNX graph, has a matrix in another file, gives representations of other shapes
            than the manifest says, or the arrays of the head are not the matrices of the graph.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._embeddings, self._reads = artifact.embeddings, artifact.manifest.encoder.reads
        self._reads_sequences = artifact.reader is not None
        self._reranker_embeddings = artifact.reranker_embeddings
        self._head = artifact.head
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        # So small a model is done before a second thread has woken up; parallelism comes from batches and workers.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A run needs little memory: to plan it and keep it took longer than to allocate it for each run.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = False
        path = artifact.path / ENCODER_FILE
        self._session = _open_session(artifact.encoder_graph.tobytes(), path, options)
        # Without a projection, the indices are searched with v.
        projected = any(output.name == "z" for output in self._session.get_outputs())
        sizes = artifact.manifest.dimensions
        if not projected and sizes.shortlist_dim != sizes.dim:
            raise ArtifactError(f"{path.name} in {path.parent} has no z of {sizes.shortlist_dim} dimensions")
        self._outputs = ["v", "z" if projected else "v", "x_hat"]
        if artifact.reranker_embeddings is not None:
            self._outputs.append("x_tilde")
        self._dims = _dims(sizes)
        self._try_graph(path)
        if self._head is not None:
            self._try_head(self._head, path)

    def encode(self, bags: Bags, sequences: Sequences | None = None) -> Representations:
        """Return the representations of B queries, zeros for a query without a known token.

        Args:
            bags: The tokens of the queries.
            sequences: The tokens in their order, for an encoder that reads sequences.

        Raises:
            ValueError: The graph gave arrays of other dimensions; kernels would read beyond their end.
        """
        if self._head is not None:
            found = apply_head(self._embeddings.bag(bags), *self._head.arrays())
            return Representations(*found, np.empty((len(bags), 0), np.float32))
        return self._run(bags, sequences)

    def _run(self, bags: Bags, sequences: Sequences | None) -> Representations:
        inputs = encoder_inputs(self._reads, self._embeddings, bags, sequences)
        if self._reranker_embeddings is not None:
            inputs["bag_tilde"] = self._reranker_embeddings.bag(bags)
        v_BD, z_Bd, x_hat_BD, *reranked = self._run_graph(inputs, len(bags))
        return Representations(v_BD, z_Bd, x_hat_BD, reranked[0] if reranked else np.empty((len(bags), 0), np.float32))

    def _try_graph(self, path: Path) -> None:
        """Encode an empty bag, which must give zeros; a matrix with NaN or infinity in it gives NaN."""
        no_ids, offsets = np.empty(0, np.int32), np.zeros(2, np.int64)
        sequences = Sequences(no_ids, offsets) if self._reads_sequences else None
        try:
            representations = self._run(Bags(no_ids, np.empty(0, np.float32), offsets), sequences)
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise ArtifactError(f"{path.name} in {path.parent} encodes no query: {error}") from error
        if any(output.any() for output in representations):
            raise ArtifactError(f"{path.name} in {path.parent} makes something of nothing: it holds NaN or infinity")

    def _run_graph(self, inputs: GraphInputs, count: int) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(self._outputs, inputs)
        for name, output in zip(self._outputs, outputs, strict=True):
            if output.shape != (count, self._dims[name]):
                raise ValueError(f"{name} has shape {output.shape}, not {(count, self._dims[name])}")
        return outputs

    def _try_head(self, head: Head, path: Path) -> None:
        bags_BD = np.random.default_rng(0).standard_normal((_NUM_TRIED_BAGS, self._dims["v"]), np.float32)
        try:
            expected = self._run_graph({"bag": bags_BD}, len(bags_BD))
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise ArtifactError(f"{path.name} in {path.parent} encodes no query: {error}") from error
        for expected_BD, found_BD in zip(expected, apply_head(bags_BD, *head.arrays()), strict=True):
            if not np.abs(found_BD - expected_BD).max() <= _HEAD_TOLERANCE * np.abs(expected_BD).max():
                names = f"{HEAD_RESIDUAL_FILE} or {HEAD_PROJECTION_FILE}"
                raise ArtifactError(f"{names} in {path.parent} is not that of {path.name}; export the run again")


def _open_session(graph: bytes, path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Make a session of the graph that was read from `path`."""
    if _EXTERNAL_DATA_KEY in graph:
        raise ArtifactError(f"{path.name} in {path.parent} has data outside of its file; export the run again")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for every kind of damage
        raise ArtifactError(f"{path.name} in {path.parent} is no graph that onnxruntime runs: {error}") from error


def _dims(sizes: Dimensions) -> dict[str, int]:
    """Return the dimension of each input and output that a graph may have."""
    return {
        "bag": sizes.dim,
        "bag_tilde": sizes.reranker_dim,
        "v": sizes.dim,
        "z": sizes.shortlist_dim,
        "x_hat": sizes.dim,
        "x_tilde": sizes.reranker_dim,
    }
