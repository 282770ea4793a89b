"""The warm-up of a model: everything slow that happens once, done before the first query of a user."""

from __future__ import annotations

import logging
from time import perf_counter

import numpy as np

from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.shortlist.hidden import BLOCKED, VISIBLE
from astec.export.artifact.signals.query_signals import place_for_signals
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bag, Query, QueryKindError
from astec.server.engine.predictor import Predictor
from astec.server.engine.ranking_json import to_json
from astec.server.system.prefault import prefault

logger = logging.getLogger(__name__)

_BATCH_SIZE = 8
_TOP_K = 5
_NOT_ASCII = "東京"  # An accent would not do: it is folded away.


def warm_predictor(artifact: Artifact) -> Predictor:
    """Return a predictor whose files are in memory and whose kernels are compiled, after real predictions with it.

    Raises:
        Exception: The model does not predict; the error of the library that failed.
    """
    predictor = Predictor(artifact)
    begun_s = perf_counter()
    mapped_bytes = prefault(artifact.path)
    mapped_s = perf_counter()
    for queries in _batches(predictor):
        _answer(predictor, queries)
    logger.info(
        "brought %.0f MB of mapped files into memory in %.2f s, predicted first in %.2f s",
        mapped_bytes / 1e6,
        mapped_s - begun_s,
        perf_counter() - mapped_s,
    )
    return predictor


def _answer(predictor: Predictor, queries: list[Query]) -> None:
    """Answer a batch and its first query alone, with and without filters and hidden labels, and explain the first."""
    artifact = predictor.artifact
    for batch in (queries, queries[:1]):
        rankings, _ = predictor.rank(batch, _TOP_K, signals_B3=place_for_signals(len(batch)))
        to_json(rankings, [_TOP_K] * len(batch), [0.0] * len(batch), artifact.labels)
    if artifact.label_metadata is not None:
        masks = (np.ones(len(artifact.labels), np.bool_), np.zeros(len(artifact.labels), np.bool_))
        predictor.rank(queries[:2], _TOP_K, [Allowed(mask, _TOP_K) for mask in masks[: len(queries)]])
    for reason in (VISIBLE, BLOCKED):  # Without any label, a query looks at all that are left.
        hidden = np.full(len(artifact.labels), reason, np.uint8)
        predictor.rank_visible(queries[:2], [_TOP_K] * len(queries[:2]), None, hidden)
    ranked = rankings.label_ids[0]
    predictor.explainer.explain(queries[0], ranked[ranked >= 0].tolist())


def _batches(predictor: Predictor) -> tuple[list[Query], ...]:
    """Return queries that reach every stage: label texts if the model takes texts, else its first feature.

    There are kernels for ASCII texts, which read bytes, and for other texts, which read code points: there is a batch
    for each. Otherwise a model whose labels are ASCII would compile the others while its first such query waits.
    """
    labels = predictor.artifact.labels
    texts = [labels[label_id] for label_id in range(min(_BATCH_SIZE, len(labels)))]
    try:
        predictor.check(texts[0])
    except QueryKindError:
        return ([Bag(np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.float32))],)
    plain: list[Query] = [text.encode("ascii", "replace").decode() for text in texts]
    other: list[Query] = [f"{text} {_NOT_ASCII}" for text in texts]
    return plain, other
