"""The inputs of an encoder's ONNX graph: a bag of embeddings, the embeddings of words or pieces, or the features.

Shapes: B queries, D dimensions of an embedding, T the longest of the sequences.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.kernels.weight_rows import Weights
from astec.export.artifact.manifest import Reads
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences

GraphInputs = dict[str, NDArray[np.float32] | NDArray[np.int32]]


def encoder_inputs(reads: Reads, embeddings: Embeddings, bags: Bags, sequences: Sequences | None) -> GraphInputs:
    """Return the inputs of a graph for B queries.

    `reads` decides which: a bag is `bag` float32 [B, D], and features are `vector` float32 [B, D]. Words and pieces,
    given as `sequences`, are `rows` float32 [B, T, D], their embeddings, with zeros after the last of a query, and
    `lengths` int32 [B]; T is at least 1.
    """
    if reads == "vector":
        return {"vector": dense_rows(bags, embeddings.rows.shape[1])}
    return {"bag": embeddings.bag(bags)} if sequences is None else _sequence_inputs(embeddings, sequences)


def dense_rows(bags: Bags, width: int) -> NDArray[np.float32]:
    """Return the features of B queries as dense rows, float32 [B, width]."""
    rows_BF = np.zeros((len(bags), width), np.float32)
    rows_BF[np.repeat(np.arange(len(bags)), bags.lengths()), bags.ids] = bags.weights
    return rows_BF


def _sequence_inputs(embeddings: Embeddings, sequences: Sequences) -> GraphInputs:
    lengths_B = sequences.lengths().astype(np.int32)
    width = max(1, int(lengths_B.max(initial=0)))
    rows_BTD = np.zeros((len(sequences), width, embeddings.rows.shape[1]), np.float32)
    _gather(embeddings.rows, embeddings.scales, sequences.ids, sequences.offsets, rows_BTD)
    return {"rows": rows_BTD, "lengths": lengths_B}


@njit(cache=True, nogil=True)
def _gather(
    rows_WD: Weights,
    scales: NDArray[np.float32],
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    rows_BTD: NDArray[np.float32],
) -> None:
    for query in range(len(offsets) - 1):
        for position in range(offsets[query + 1] - offsets[query]):
            word = ids[offsets[query] + position]
            scale = scales[word] if len(scales) else np.float32(1)
            for d in range(rows_BTD.shape[2]):
                rows_BTD[query, position, d] = scale * np.float32(rows_WD[word, d])
