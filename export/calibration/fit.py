"""The fit of a calibration: the probability that a label with a given score is right, learnt from held-out texts.

Isotonic regression (Zadrozny and Elkan 2002) finds, among all maps that never fall, the one nearest to the
observations. It is a step function over blocks of scores, found by pooling adjacent violators (Ayer et al. 1955).
Between the mean scores of its blocks the map is linear (centred isotonic regression, Oron and Flournoy 2017), so that
it also tells apart the scores within a block.

Shapes: P pairs of a text and a label, B blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.manifest import MAX_KNOTS, Calibration
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.calibration.reliability import Reliability
from astec.export.calibration.scored_pairs import ScoredPairs

CALIBRATED_RANKS = 20
"""Number of best labels of each text that the fit uses."""
FOLDS = 5
MIN_TEXTS = 50
_MIN_BLOCK_PAIRS = 20  # A smaller block gives probabilities of 0 or 1 too easily.


@dataclass(frozen=True, slots=True)
class Blocks:
    """A step function: blocks of pairs with neighbouring scores, by rising score.

    Shapes: `pairs` int64 [B], number of pairs; `hits` int64 [B], number of right pairs; `score_sums` float64 [B].
    """

    pairs: NDArray[np.int64]
    hits: NDArray[np.int64]
    score_sums: NDArray[np.float64]

    @property
    def scores(self) -> NDArray[np.float64]:
        """The mean score of each block, ascending, [B]."""
        return np.asarray(self.score_sums / self.pairs)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The share of right pairs in each block, ascending, [B]."""
        return np.asarray(self.hits / self.pairs)

    def pooled(self, starts: NDArray[np.int64]) -> Blocks:
        """Merge blocks into fewer; each of the new blocks begins with one of `starts`."""
        return Blocks(*(np.add.reduceat(sums, starts) for sums in (self.pairs, self.hits, self.score_sums)))


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A calibration, and its reliability on texts that it was not fitted on.

    Attributes:
        calibration: the map from scores to probabilities, fitted on all texts.
        scores: reliability of the scores themselves, taken as probabilities.
        probabilities: reliability of the probabilities; those of a text are from a map fitted on other texts (`FOLDS`
            folds).
    """

    calibration: Calibration
    scores: Reliability
    probabilities: Reliability


def fit_calibration(pairs: ScoredPairs) -> CalibrationFit | None:
    """Fit a calibration; None where fewer than `MIN_TEXTS` texts have a ranked label."""
    if pairs.num_texts < MIN_TEXTS:
        return None
    reliability = Reliability.of(cross_fit(pairs), pairs.hits)
    blocks = _fit(pairs)
    calibration = Calibration(
        scores=blocks.scores.tolist(),
        probabilities=blocks.probabilities.tolist(),
        pairs=len(pairs.scores),
        expected_error=reliability.expected_error,
    )
    return CalibrationFit(calibration, Reliability.of(pairs.scores, pairs.hits), reliability)


def cross_fit(pairs: ScoredPairs) -> NDArray[np.float32]:
    """Return the probabilities [P] of all pairs; those of a text are from a map fitted without its pairs."""
    folds_P = pairs.texts % FOLDS
    probabilities_P = np.empty(len(pairs.scores), np.float32)
    for fold in range(FOLDS):
        is_left_out_P = folds_P == fold
        blocks = _fit(pairs.take(~is_left_out_P))
        calibrator = Calibrator(blocks.scores.tolist(), blocks.probabilities.tolist())
        probabilities_P[is_left_out_P] = calibrator.probabilities(pairs.scores[is_left_out_P])
    return probabilities_P


def pool_adjacent_violators(pairs: ScoredPairs) -> Blocks:
    """Return the step function nearest to the observations that never falls; equal scores are in the same block."""
    scores, inverse_P = np.unique(pairs.scores.astype(np.float64), return_inverse=True)
    counts = np.bincount(inverse_P)
    hits = np.bincount(inverse_P, pairs.hits.astype(np.float64)).astype(np.int64)
    # The first score of each block, and its numbers of pairs and hits.
    starts: list[int] = []
    pooled: list[tuple[int, int]] = []
    for start, (count, right) in enumerate(zip(counts.tolist(), hits.tolist(), strict=True)):
        begin = start
        while pooled and pooled[-1][1] * count >= right * pooled[-1][0]:
            (more, more_right), begin = pooled.pop(), starts.pop()
            count, right = count + more, right + more_right
        starts.append(begin)
        pooled.append((count, right))
    return Blocks(counts, hits, scores * counts).pooled(np.array(starts))


def simplify(blocks: Blocks, max_blocks: int = MAX_KNOTS, min_pairs: int = _MIN_BLOCK_PAIRS) -> Blocks:
    """Merge blocks until there are at most `max_blocks`, each with `min_pairs` pairs or more, if there are that many.

    Of all pairs of neighbours, the one whose merging adds the least to the squared error is merged first.
    """
    while len(blocks.pairs) > 1:
        left, right = blocks.pairs[:-1], blocks.pairs[1:]
        is_small = np.minimum(left, right) < min_pairs
        if len(blocks.pairs) <= max_blocks and not is_small.any():
            break
        added = left * right / (left + right) * np.diff(blocks.probabilities) ** 2
        cheapest = int(np.argmin(np.where(is_small, added, np.inf) if is_small.any() else added))
        blocks = blocks.pooled(np.delete(np.arange(len(blocks.pairs)), cheapest + 1))
    return blocks


def _fit(pairs: ScoredPairs) -> Blocks:
    return simplify(pool_adjacent_violators(pairs))
