"""A request to rank labels for one query, and its result.

Shapes: K labels of one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.metadata import Selection
from astec.export.artifact.text.bags import Query
from astec.server.metrics.board import Signals
from astec.server.metrics.stage_times import StageTimes

Output = Literal["json", "arrays", "both"]
"""The form of a result: the JSON array of the native API, arrays and texts for other uses, or both."""

CandidateOutput = Literal["candidates", "all_candidates"]
"""Of a shard, the JSON object of its candidates, to merge with those of the other shards; or of all that it has."""
CANDIDATE_OUTPUTS: tuple[CandidateOutput, ...] = get_args(CandidateOutput)

EMPTY_JSON = b"[]"


class RankRequest(NamedTuple):
    """A query, and which part of its ranking is wanted in which form.

    Attributes:
        query: A text, or a bag of feature ids.
        top_k: The most labels.
        min_score: Labels with a lower score are left out.
        probabilities: Whether the JSON has a probability for each label.
        selection: The labels that are allowed; None: all.
        output: The form of the result.
        model: The model that is to rank, by its place among those that are served.
    """

    query: Query
    top_k: int
    min_score: float
    probabilities: bool
    selection: Selection | None = None
    output: Output | CandidateOutput = "json"
    model: int = 0


class RankedLabels(NamedTuple):
    """The labels of one query, best first: `label_ids` int64 [K], K `texts`, and `scores` float32 [K]."""

    label_ids: NDArray[np.int64]
    texts: list[str]
    scores: NDArray[np.float32]


NO_LABELS = RankedLabels(np.empty(0, np.int64), [], np.empty(0, np.float32))


class MergedExtras(NamedTuple):
    """What a result that is merged from those of shards has beside labels.

    Attributes:
        missing: The addresses of shards that did not answer.
        explanation: The JSON of the explanation; no bytes where none was asked for.
    """

    missing: tuple[str, ...]
    explanation: bytes


class RankResult(NamedTuple):
    """The result of one request, in the form that the request asks for.

    Attributes:
        json: The JSON array of the labels, best first; no bytes where the request asks for arrays only.
        labels: The labels as arrays and texts; `NO_LABELS` where the request asks for JSON only.
        stages: The stage times of the batch; None where nothing was computed, because the cache had the result.
        without_blocked: Whether a label would be among the best if it were not blocked.
        signals: The signals of the query, NaN for those that it has none of; None where they were not measured.
        merged: Only where it is merged from the results of shards.
    """

    json: bytes
    labels: RankedLabels
    stages: StageTimes | None
    without_blocked: bool = False
    signals: Signals | None = None
    merged: MergedExtras | None = None

    def is_empty(self) -> bool:
        """Return whether no label was found."""
        return self.json == EMPTY_JSON or not (self.json or self.labels.texts)


def batches_of(results: Sequence[RankResult]) -> list[StageTimes]:
    """Return the stage times of each batch that results were computed in, in order; none for those from the cache."""
    if len(results) == 1:  # The usual case.
        return [results[0].stages] if results[0].stages else []
    return list({id(result.stages): result.stages for result in results if result.stages}.values())
