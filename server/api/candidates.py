"""The answers of a shard to a client that merges shards: candidates, and what of the whole model merging them takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from astec.export.artifact.manifest import Manifest
from astec.export.artifact.scoring.shares import Shares
from astec.server.api.schema import PredictRequest
from astec.server.engine.rank_request import CandidateOutput, RankResult
from astec.server.errors import FieldError, InvalidFieldError


def candidate_output(request: PredictRequest) -> CandidateOutput | None:
    """Return the form of the results that a request asks a shard for; None: it asks for predictions."""
    if request.candidates is None:
        return None
    return "candidates" if request.candidates == "near" else "all_candidates"


class CandidateAnswers:
    """Writes the answers of one shard.

    Args:
        manifest: Of the shard.
    """

    def __init__(self, manifest: Manifest) -> None:
        weights, calibration = Shares.of(manifest.scoring).weights(), manifest.calibration
        model = {"name": manifest.model.name, "version": manifest.model.version}
        self._head = {"model": model, "shard": None if manifest.shard is None else manifest.shard.model_dump()}
        self._merge: dict[str, Any] = {
            "centroids": 0 if manifest.centroids is None else manifest.centroids.neighbours,
            "points": 0 if manifest.points is None else manifest.points.neighbours,
            "max_candidates": manifest.max_candidates,
            "votes": weights.votes,
            "bias": weights.bias,
            "logits": weights.as_logits,
        }
        self._calibration = None if calibration is None else [calibration.scores, calibration.probabilities]

    def to_json(
        self, request: PredictRequest, results: Sequence[RankResult], explanation: bytes, *, single: bool
    ) -> bytes:
        """Return the response body for one `query` (`single`) or for `queries`; `explanation` begins with a comma."""
        merge = self._merge | ({"calibration": self._calibration} if request.probabilities else {})
        asked = {"top_k": request.top_k, "min_score": request.min_score}
        head = orjson.dumps(self._head | {"merge": merge} | asked)[:-1]
        if single:
            return b'%b,"candidates":%b%b}' % (head, results[0].json, explanation)
        return b'%b,"results":[%b]}' % (head, b",".join([b'{"candidates":%b}' % result.json for result in results]))


def require_shard(answers: CandidateAnswers | None) -> CandidateAnswers:
    """Raise InvalidFieldError for a request for candidates to a model that is no shard."""
    if answers is None:
        message = (
            "The model here is whole, and no shard; ask it for predictions, or export shards with astec-export --shards"
        )
        raise InvalidFieldError([FieldError(field="candidates", message=message)])
    return answers
