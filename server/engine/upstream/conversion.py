"""Requests and results, as the client of the shards has them and as the endpoints have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from astec.export.artifact.labels.metadata import Conditions, LabelMetadata, LabelValue
from astec.export.artifact.manifest import ValueKind
from astec.export.artifact.text.bags import Bag
from astec.export.artifact.text.bags import Query as EngineQuery
from astec.server.client.queries import Asked, Features, PredictOptions, Query
from astec.server.engine.rank_request import MergedExtras, RankedLabels, RankRequest, RankResult


def to_asked(requests: Sequence[RankRequest], metadata: LabelMetadata | None) -> Asked:
    """Return the request to the shards for rank requests that differ in their queries alone."""
    first = requests[0]
    kinds: dict[str, ValueKind] = {} if metadata is None else {one.name: one.kind for one in metadata.columns}
    wanted, unwanted = ((), ()) if first.selection is None else first.selection
    options = PredictOptions(
        top_k=first.top_k,
        min_score=first.min_score,
        probabilities=first.probabilities or None,
        filter=_to_values(wanted, kinds),
        exclude=_to_values(unwanted, kinds),
    )
    queries = [_to_query(request.query) for request in requests]
    return Asked(queries, options, single=len(queries) == 1, explain=first.output == "both")


def to_results(answer: dict[str, Any], requests: Sequence[RankRequest]) -> list[RankResult]:
    """Return the results in a merged answer."""
    missing = tuple(answer.get("missing", ()))
    results = []
    for request, found in zip(requests, answer.get("results", [answer]), strict=True):
        predictions = found["predictions"]
        explanation = orjson.dumps(found["explanation"]) if "explanation" in found else b""
        labels = RankedLabels(
            np.array([one["label_id"] for one in predictions], np.int64),
            [one["label"] for one in predictions],
            np.array([one["score"] for one in predictions], np.float32),
        )
        json = b"" if request.output == "arrays" else orjson.dumps(predictions)
        results.append(RankResult(json, labels, None, merged=MergedExtras(missing, explanation)))
    return results


def _to_query(query: EngineQuery) -> Query:
    if isinstance(query, Bag):
        return Features(query.ids.tolist(), query.weights.tolist())
    return query


def _to_values(conditions: Conditions, kinds: dict[str, ValueKind]) -> dict[str, list[LabelValue]] | None:
    """Return conditions as a request has them; None: there are none."""
    if not conditions:
        return None
    return {name: [_to_value(text, kinds[name]) for text in texts] for name, texts in conditions}


def _to_value(text: str, kind: ValueKind) -> LabelValue:
    if kind == "string":
        return text
    return text == "true" if kind == "boolean" else int(text)
