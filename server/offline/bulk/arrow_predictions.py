"""The labels of queries as one Arrow column, made from arrays, without a Python object for each label.

Shapes: B queries, K ranks. pyarrow is loaded only by the functions, and has no types.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.server.engine.predictor import Rankings

PREDICTIONS: Final = "predictions"
"""The name of the column."""
PROBABILITY: Final = "probability"
"""The name of a prediction's last member, if probabilities are requested."""


def predictions_type(probabilities: bool) -> Any:  # noqa: ANN401
    """Return the type of the column: lists of `label_id`, `label`, `score` and maybe `probability`."""
    import pyarrow as pa

    members = [("label_id", pa.int64()), ("label", pa.string()), ("score", pa.float32())]
    return pa.list_(pa.struct(members + [(PROBABILITY, pa.float32())] * probabilities))


def to_predictions(
    rankings: Rankings, probabilities_BK: NDArray[np.float32], labels: TextTable, *, probabilities: bool
) -> Any:  # noqa: ANN401
    """Return the column for B queries, an array of `predictions_type`.

    Args:
        rankings: Label ids and scores, [B, K]; a label id of -1 means no label.
        probabilities_BK: The probabilities of the labels; [0, 0] if they are not requested.
        labels: The texts of all labels, by label id.
        probabilities: Whether they are requested.
    """
    import pyarrow as pa

    is_hit_BK = rankings.label_ids >= 0
    ids = rankings.label_ids[is_hit_BK]
    offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(is_hit_BK, axis=1))]).astype(np.int32)
    named = labels.take(ids)
    bounds = pa.py_buffer(named.offsets.astype(np.int32))
    texts = pa.StringArray.from_buffers(len(named), bounds, pa.py_buffer(named.blob))
    members = {"label_id": pa.array(ids), "label": texts, "score": pa.array(rankings.scores[is_hit_BK])}
    if probabilities:
        members[PROBABILITY] = pa.array(probabilities_BK[is_hit_BK])
    hits = pa.StructArray.from_arrays(list(members.values()), list(members))
    return pa.ListArray.from_arrays(pa.array(offsets), hits)
