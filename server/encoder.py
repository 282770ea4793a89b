"""Bags of tokens to representations, by the artifact's ONNX encoder.

Shapes: B queries, T tokens of the longest, D dimensions (d of the indices, D~ of the re-ranker).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.artifact.featurizer import Bags

# onnxruntime multiplies tokens two at a time and rounds a lone last one otherwise: with even numbers of tokens a query
# has the same representation, bit for bit, whatever it is padded with.
_TOKENS_MULTIPLE = 8
# Padding is cheaper than a second call to the runtime until it multiplies the work by this much.
_MAX_PADDED_SHARE = 4
_MIN_PADDED_TOKENS = 4096


class Representations(NamedTuple):
    """Of B queries, float32: `v` and `x_hat` [B, D], and `z` [B, d], with which the indices are searched.

    `x_tilde` is [B, D~], [B, 0] without a re-ranker.
    """

    v: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]


class Encoder:
    """An onnxruntime session that runs on the calling thread. Thread-safe."""

    def __init__(self, path: Path) -> None:
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        # A model this small is done before a second thread has woken up; parallelism comes from batches and workers.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = {output.name for output in self._session.get_outputs()}
        # Without a projection the indices are searched with v.
        self._outputs = ["v", "z" if "z" in given else "v", "x_hat", *(["x_tilde"] if "x_tilde" in given else [])]

    def encode(self, bags: Bags) -> Representations:
        """The representations of B bags; an empty bag gives zeros."""
        if len(bags) == 1:
            return self._run(bags)
        groups = list(_groups(bags.lengths()))
        if len(groups) == 1:
            return self._run(bags)
        outputs = [self._run(bags.take(rows)) for rows in groups]
        order = np.argsort(np.concatenate(groups))
        return Representations(*(np.concatenate(parts)[order] for parts in zip(*outputs, strict=True)))

    def _run(self, bags: Bags) -> Representations:
        ids_BT, weights_BT = bags.padded(_TOKENS_MULTIPLE)
        outputs = self._session.run(self._outputs, {"token_ids": ids_BT, "token_weights": weights_BT})
        if len(outputs) < len(Representations._fields):
            outputs.append(np.empty((len(bags), 0), np.float32))
        return Representations(*outputs)


def _groups(lengths_B: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows that are padded together: all, unless a few long queries would make the others pay."""
    tokens, longest = int(lengths_B.sum()), int(lengths_B.max(initial=0))
    if len(lengths_B) * longest <= max(_MAX_PADDED_SHARE * tokens, _MIN_PADDED_TOKENS):
        yield np.arange(len(lengths_B))
        return
    doublings_B = np.ceil(np.log2(np.maximum(lengths_B, 1)))
    for doubling in np.unique(doublings_B):
        yield np.flatnonzero(doublings_B == doubling)
