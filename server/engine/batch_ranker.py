"""The computation of one batch: from rank requests to their results.

Shapes: B queries, K ranks, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.signals.query_signals import NO_SIGNALS, place_for_signals
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.labels.label_masks import LabelMasks
from astec.server.engine.predictor import Predictor, Rankings
from astec.server.engine.rank_request import CANDIDATE_OUTPUTS, NO_LABELS, RankedLabels, RankRequest, RankResult
from astec.server.engine.ranking_json import NO_PROBABILITIES, to_json
from astec.server.engine.sharding.candidate_finder import Asked, CandidateFinder
from astec.server.metrics.board import Signals

MEASURED_EVERY = 7
"""The signals of one query in so many are recorded, as those of all would take 2 to 4% of its CPU time.

It is a prime number, so that it does not always meet the same query of requests that repeat.
"""


class BatchRanker:
    """Turns batches of requests into results. Thread-safe; every call runs on its caller's thread alone.

    The label texts are read here, and not by the endpoints: a page fault would block the event loop.

    Args:
        predictor: The model, ready to rank.
        calibrator: The map from scores to probabilities; None where the model has none.
        block_list: Labels that no answer may name; None where no label can be blocked.
        measured_every: The signals of one batch in so many are measured.
    """

    def __init__(
        self,
        predictor: Predictor,
        calibrator: Calibrator | None,
        block_list: BlockList | None = None,
        measured_every: int = MEASURED_EVERY,
    ) -> None:
        self._predictor = predictor
        self._finder = predictor.candidate_finder
        self._labels = predictor.artifact.labels
        self._calibrator = calibrator
        self._block_list = block_list
        self._turns = cycle([True] + [False] * (measured_every - 1))

    def rank(self, requests: list[RankRequest]) -> list[RankResult]:
        """Rank all labels for each request of a batch, and return the results in order."""
        return self._rank(requests, None)

    def rank_filtered(self, masks: LabelMasks, requests: list[RankRequest]) -> list[RankResult]:
        """Rank the labels that each request of a batch selects. Runs on the one thread to which the masks belong."""
        return self._rank(requests, [Allowed(masks.mask_of(one.selection), one.top_k) for one in requests])

    def _rank(self, requests: list[RankRequest], allowed: list[Allowed] | None) -> list[RankResult]:
        if self._finder is not None and any(request.output in CANDIDATE_OUTPUTS for request in requests):
            return self._rank_or_find(self._finder, requests, allowed)
        most = max([request.top_k for request in requests])
        queries = [request.query for request in requests]
        # Read once: the list may change while the batch is computed.
        hidden = None if self._block_list is None else self._block_list.hidden
        # The answers to a filter say more about the filter than about the model.
        is_measured = allowed is None and next(self._turns)
        signals_B3 = place_for_signals(len(requests)) if is_measured else NO_SIGNALS
        if hidden is None:
            rankings, stages = self._predictor.rank(queries, most, allowed, signals_B3)
            without_blocked = [False] * len(requests)
        else:
            top_ks = [request.top_k for request in requests]
            (rankings, without_blocked_B), stages = self._predictor.rank_visible(
                queries, top_ks, allowed, hidden, signals_B3
            )
            without_blocked = without_blocked_B.tolist()
        arrays = self._to_json(requests, rankings)
        signals: list[Signals | None] = signals_B3.tolist() or [None] * len(requests)
        return [
            RankResult(
                arrays[row], self._ranked_labels(request, rankings, row), stages, without_blocked[row], signals[row]
            )
            for row, request in enumerate(requests)
        ]

    def _rank_or_find(
        self, finder: CandidateFinder, requests: list[RankRequest], allowed: list[Allowed] | None
    ) -> list[RankResult]:
        """Answer a batch in which requests want candidates, and others may want rankings."""
        wanted = [row for row, request in enumerate(requests) if request.output in CANDIDATE_OUTPUTS]
        others = [row for row in range(len(requests)) if row not in set(wanted)]
        results: dict[int, RankResult] = {}
        if others:
            masks = None if allowed is None else [allowed[row] for row in others]
            results |= zip(others, self._rank([requests[row] for row in others], masks), strict=True)
        asked = [
            Asked(
                requests[row].query,
                None if allowed is None else allowed[row].mask,
                requests[row].output == "all_candidates",
                requests[row].top_k,
            )
            for row in wanted
        ]
        found, stages = finder.find(asked, None if self._block_list is None else self._block_list.hidden)
        for row, (json, label_ids) in zip(wanted, found, strict=True):
            results[row] = RankResult(json, NO_LABELS._replace(label_ids=label_ids), stages)
        return [results[row] for row in range(len(requests))]

    def _to_json(self, requests: list[RankRequest], rankings: Rankings) -> list[bytes]:
        """Return the JSON array of each request, no bytes for requests that want arrays only."""
        wants_json = [request.output != "arrays" for request in requests]
        if not any(wants_json):
            return [b""] * len(requests)
        most, least = [request.top_k for request in requests], [request.min_score for request in requests]
        arrays = to_json(rankings, most, least, self._labels, self._probabilities(requests, rankings.scores))
        return [array if wanted else b"" for array, wanted in zip(arrays, wants_json, strict=True)]

    def _ranked_labels(self, request: RankRequest, rankings: Rankings, row: int) -> RankedLabels:
        """Return the labels of a request that wants arrays; copied, so that a cached result does not keep the batch."""
        if request.output == "json":
            return NO_LABELS
        label_ids_K, scores_K = rankings.label_ids[row, : request.top_k], rankings.scores[row, : request.top_k]
        kept = np.count_nonzero((label_ids_K >= 0) & ~(scores_K < np.float32(request.min_score)))
        label_ids_K = label_ids_K[:kept].copy()
        texts = [self._labels[label_id] for label_id in label_ids_K.tolist()]
        return RankedLabels(label_ids_K, texts, scores_K[:kept].copy())

    def _probabilities(self, requests: Sequence[RankRequest], scores_BK: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [B, K], NaN for requests that want none; [0, 0] where no request wants any."""
        if self._calibrator is None or not any(wanted := [request.probabilities for request in requests]):
            return NO_PROBABILITIES
        probabilities_BK = self._calibrator.probabilities(scores_BK)
        probabilities_BK[np.logical_not(wanted)] = np.nan
        return probabilities_BK
