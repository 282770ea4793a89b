"""Example queries for a model, taken from the model itself."""

from __future__ import annotations

import numpy as np

from astec.export.artifact.shortlist.hidden import VISIBLE, Hidden
from astec.export.artifact.store import Artifact

MAX_EXAMPLES = 6
MAX_EXAMPLE_CHARS = 60
_LOOKED_AT = 120


def example_queries(artifact: Artifact, hidden: Hidden | None = None) -> list[str]:
    """Return a few short queries, the same ones at every start.

    These are training texts from all parts of the log if the artifact carries them, else the labels with the most
    training texts, without hidden ones. Models that take feature ids have none.
    """
    if artifact.featurizer.kind != "text":
        return []
    if artifact.point_texts is None:
        table, ids = artifact.labels, np.argsort(-artifact.label_counts, kind="stable")
        ids = (ids if hidden is None else ids[hidden[ids] == VISIBLE])[:_LOOKED_AT]
    else:
        table, last = artifact.point_texts, len(artifact.point_texts) - 1
        ids = np.unique(np.linspace(0, last, _LOOKED_AT).astype(np.int64))
    texts = dict.fromkeys(table[label_id].strip() for label_id in ids.tolist())
    short = [text for text in texts if 0 < len(text) <= MAX_EXAMPLE_CHARS]
    if artifact.point_texts is None:
        return short[:MAX_EXAMPLES]
    return short[:: max(1, len(short) // MAX_EXAMPLES)][:MAX_EXAMPLES]
