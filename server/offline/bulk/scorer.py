"""The scoring of texts, many at a time: for `astec-predict`, which writes files, and for `astec.batch`.

Shapes: B queries, K ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query
from astec.server.engine.predictor import Predictor, Rankings
from astec.server.engine.ranking_json import NO_PROBABILITIES
from astec.server.offline.bulk.options import ScoringOptions

CHUNK_QUERIES: Final = 1024
"""Queries that are scored at a time; more are no faster."""
_FILTERED_QUERIES: Final = 8
"""Queries that are ranked at a time if labels are filtered: each may need 8 bytes for every allowed label."""


class Scored(NamedTuple):
    """The labels of B queries, without those below the least score.

    Attributes:
        rankings: Label ids and scores, [B, K]; a label id of -1 means no label.
        probabilities: The probabilities of the labels, [B, K]; [0, 0] if they are not requested.
    """

    rankings: Rankings
    probabilities: NDArray[np.float32]


class Scorer:
    """An opened artifact and the options for each query. It makes an onnxruntime session: make it after a fork.

    Args:
        artifact: The model.
        options: The options, checked against the model.

    Raises:
        ArtifactError: The artifact's encoder does not run, or does not give what the manifest says.
    """

    def __init__(self, artifact: Artifact, options: ScoringOptions) -> None:
        self.artifact = artifact
        self._min_score = np.float32(options.min_score)
        self._rank, self._probabilities = _ranker(artifact, options), _probabilities(artifact, options)

    def score(self, queries: Sequence[Query]) -> Scored:
        """Rank the labels of B queries, B at most `CHUNK_QUERIES` for the memory that they take.

        Raises:
            QueryKindError: A query is not of the kind that the model takes.
        """
        rankings = self._rank(queries)
        rankings.label_ids[rankings.scores < self._min_score] = -1
        return Scored(rankings, self._probabilities(rankings.scores))


def _ranker(artifact: Artifact, options: ScoringOptions) -> Callable[[Sequence[Query]], Rankings]:
    """Return the function that ranks queries, a few at a time if labels are filtered."""
    predictor, top_k, selection = Predictor(artifact), options.top_k, options.selection
    if selection is None or artifact.label_metadata is None:
        return lambda queries: predictor.rank(queries, top_k)[0]
    allowed = [Allowed(artifact.label_metadata.select(selection), top_k)] * _FILTERED_QUERIES

    def rank(queries: Sequence[Query]) -> Rankings:
        begins = range(0, len(queries), _FILTERED_QUERIES)
        parts = [queries[begin : begin + _FILTERED_QUERIES] for begin in begins]
        rankings = [predictor.rank(part, top_k, allowed[: len(part)])[0] for part in parts]
        return Rankings(*map(np.concatenate, zip(*rankings, strict=True)))

    return rank


def _probabilities(artifact: Artifact, options: ScoringOptions) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function from scores to probabilities; it returns an empty array if none are requested."""
    calibration = artifact.manifest.calibration
    if not options.probabilities or calibration is None:
        return lambda scores_BK: NO_PROBABILITIES
    return Calibrator.of(calibration).probabilities
