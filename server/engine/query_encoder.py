"""Queries to representations: what is looked up of their tokens' embeddings, and the artifact's ONNX graph after it.

Of Astec's own encoder a kernel does what the graph does, for one query in half of the time. Which of them it is must
not depend on the batch, so that an answer is the same to the last bit in any.

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
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences
from astec.export.artifact.verification import ArtifactError

_OUTSIDE = b"location"
"""The key, in a graph's bytes, of what says that a matrix lies in another file."""

_TRIED_BAGS = 8
_HEAD_TOLERANCE = 1e-4


class Representations(NamedTuple):
    """Of B queries, float32: `v` and `x_hat` [B, D], and `z` [B, d], with which the indices are searched.

    `x_tilde` is [B, D~], [B, 0] without a re-ranker.
    """

    v: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]


class QueryEncoder:
    """The embeddings of an artifact and an onnxruntime session, on the calling thread. Thread-safe.

    Raises:
        ArtifactError: the graph is none, has a matrix outside of its file, or makes something else of a bag than the
            representations that the manifest says, or the arrays of the head are not those of the graph.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._embeddings, self._reads = artifact.embeddings, artifact.manifest.encoder.reads
        self._reads_sequences = artifact.reader is not None
        self._reranker_embeddings = artifact.reranker_embeddings
        self._head = artifact.head
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
        self._session = _open_session(artifact.encoder_path, options)
        # Without a projection the indices are searched with v.
        projected = any(output.name == "z" for output in self._session.get_outputs())
        sizes, path = artifact.manifest.dimensions, artifact.encoder_path
        if not projected and sizes.shortlist_dim != sizes.dim:
            raise ArtifactError(f"{path.name} in {path.parent} has no z of {sizes.shortlist_dim} dimensions")
        self._outputs = ["v", "z" if projected else "v", "x_hat"]
        if artifact.reranker_embeddings is not None:
            self._outputs.append("x_tilde")
        self._dims = _dims(sizes)
        self._try(path)
        if self._head is not None:
            self._try_head(self._head, path)

    def encode(self, bags: Bags, sequences: Sequences | None = None) -> Representations:
        """The representations of B queries; one without a known token gives zeros.

        `sequences` are for an encoder that reads such.

        Raises:
            ValueError: the graph gave arrays of other dimensions, which kernels would read beyond.
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

    def _try(self, path: Path) -> None:
        """Encode an empty bag: of a matrix with NaN or infinity in it, not even its zeros make zeros."""
        no_ids, offsets = np.empty(0, np.int32), np.zeros(2, np.int64)
        sequences = Sequences(no_ids, offsets) if self._reads_sequences else None
        try:
            representations = self._run(Bags(no_ids, np.empty(0, np.float32), offsets), sequences)
        except Exception as error:  # of the library, too
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
        bags_BD = np.random.default_rng(0).standard_normal((_TRIED_BAGS, self._dims["v"]), np.float32)
        try:
            expected = self._run_graph({"bag": bags_BD}, len(bags_BD))
        except Exception as error:  # of the library, too
            raise ArtifactError(f"{path.name} in {path.parent} encodes no query: {error}") from error
        for expected_BD, found_BD in zip(expected, apply_head(bags_BD, *head.arrays()), strict=True):
            if not np.abs(found_BD - expected_BD).max() <= _HEAD_TOLERANCE * np.abs(expected_BD).max():
                names = f"{HEAD_RESIDUAL_FILE} or {HEAD_PROJECTION_FILE}"
                raise ArtifactError(f"{names} in {path.parent} is not that of {path.name}; export the run again")


def _open_session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    graph = path.read_bytes()
    if _OUTSIDE in graph:
        raise ArtifactError(f"{path.name} in {path.parent} has data outside of its file; export the run again")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library has one for every kind of damage
        raise ArtifactError(f"{path.name} in {path.parent} is no graph that onnxruntime runs: {error}") from error


def _dims(sizes: Dimensions) -> dict[str, int]:
    """Of the inputs and outputs that a graph may have."""
    return {
        "bag": sizes.dim,
        "bag_tilde": sizes.reranker_dim,
        "v": sizes.dim,
        "z": sizes.shortlist_dim,
        "x_hat": sizes.dim,
        "x_tilde": sizes.reranker_dim,
    }
