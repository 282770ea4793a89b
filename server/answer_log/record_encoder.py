"""The records of the answer log, as lines of JSON.

Shapes: K labels of one query, R labels of all queries of a call.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.text.bags import Query
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.settings import LoggedQueries

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class Answered(NamedTuple):
    """A request that was answered.

    Attributes:
        time_s: Seconds since 1970.
        request_id: The id of the request.
        requests: Its queries.
        results: The result of each query.
    """

    time_s: float
    request_id: bytes
    requests: Sequence[RankRequest]
    results: Sequence[RankResult]


class Model(NamedTuple):
    """What records tell about the model: name, version, and the map from scores to probabilities, if it has one."""

    name: str
    version: str
    calibrator: Calibrator | None


class RecordEncoder:
    """Writes a record for each query of a request.

    Labels that were shown are `shown`, and not `labels`: nobody shall train on them as if they were clicked.

    Args:
        models: The models that answer, in the order in which requests name them.
        worker_id: The worker that answers.
        queries: The form in which queries are stored.
        key: The key of their hashes.
    """

    def __init__(self, models: Sequence[Model], worker_id: int, queries: LoggedQueries, key: bytes) -> None:
        self._calibrators = [model.calibrator for model in models]
        self._queries = queries
        self._key = key
        self._sources = [{"model": model.name, "version": model.version, "worker": worker_id} for model in models]

    def encode(self, answered: Sequence[Answered]) -> tuple[bytes, int]:
        """Return the lines of some requests, and their number."""
        records: list[dict[str, Any]] = []
        by_model: list[list[dict[str, Any]]] = [[] for _ in self._sources]
        for time_s, request_id, requests, results in answered:
            time, name = datetime.fromtimestamp(time_s, UTC), request_id.decode()
            for position, (request, result) in enumerate(zip(requests, results, strict=True)):
                shown, scores = _ranking(result)
                about = {"time": time, "request_id": name, "position": position}
                query = self._query(request.query)
                record = {**about, **query, "shown": shown, "scores": scores}
                records.append(record)
                by_model[request.model].append(record)
        for calibrator, source, its_records in zip(self._calibrators, self._sources, by_model, strict=True):
            if calibrator is not None and its_records:
                _add_probabilities(its_records, calibrator)
            for record in its_records:
                record |= source
        return b"".join([orjson.dumps(record, option=_OPTIONS) for record in records]), len(records)

    def _query(self, query: Query) -> dict[str, Any]:
        if self._queries == "none":
            return {}
        is_text = isinstance(query, str)
        features = {} if isinstance(query, str) else {"ids": query.ids, "weights": query.weights}
        if self._queries == "full":
            return {"query": query} if is_text else {"features": features}
        content = (
            query.encode() if isinstance(query, str) else orjson.dumps(features, option=orjson.OPT_SERIALIZE_NUMPY)
        )
        return {"query_hash": hmac.digest(self._key, content, "sha256").hex()}


def _ranking(result: RankResult) -> tuple[list[str], list[float]]:
    """Return the labels of a result and their scores, as they were sent."""
    if not result.json:
        return result.labels.texts, np.fmax(result.labels.scores, 0).tolist()
    predictions = orjson.loads(result.json)
    return [one["label"] for one in predictions], [one["score"] for one in predictions]


def _add_probabilities(records: Sequence[dict[str, Any]], calibrator: Calibrator) -> None:
    # In one call for all records: each call takes longer than the numbers of a record.
    scores = [score for record in records for score in record["scores"]]
    probabilities_R = calibrator.probabilities(np.array(scores, np.float32))
    begin = 0
    for record in records:
        end = begin + len(record["scores"])
        record["probabilities"] = probabilities_R[begin:end]
        begin = end
