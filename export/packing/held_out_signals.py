"""The signals of a run's held-out texts, which the server compares those of its queries with.

Shapes: R held-out texts, K ranks, V vocabulary, W words of all texts together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.signals.histograms import Histograms, count_signals
from astec.export.artifact.signals.query_signals import SIGNALS, measure_scores, place_for_signals
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.search.judge import Ranking

MIN_TEXTS = 150
"""The fewest held-out texts for a histogram; the index of one of fewer texts would be mostly chance."""


def held_out_signals(checkpoint: Checkpoint, ranking: Ranking) -> Histograms:
    """Return the histograms of the signals of the held-out texts, of those signals that enough texts have.

    Args:
        checkpoint: the run, after its refit if it had one.
        ranking: the first R held-out texts, ranked as the server will rank, by the model before the refit.
    """
    signals_R3 = place_for_signals(len(ranking.labels))
    measure_scores(ranking.labels, ranking.scores, signals_R3)
    signals_R3[:, SIGNALS.index("unknown_words")] = _unknown_words(checkpoint, len(ranking.labels))
    return count_signals(signals_R3, MIN_TEXTS)


def _unknown_words(checkpoint: Checkpoint, num_texts: int) -> NDArray[np.float64]:
    """Return the share of unknown words of the first R held-out texts, NaN where it cannot be known.

    A run has the texts only if it learnt them in a refit. The vocabulary then has their words, so that a word counts as
    known only if it would be known without the text that it is in.
    """
    featurizer, texts, points = checkpoint.featurizer, checkpoint.point_texts, checkpoint.held_out.points[:num_texts]
    if texts is None or not isinstance(featurizer, TextFeaturizer) or not len(points):
        return np.full(num_texts, np.nan)
    tokens_W, rows_W = featurizer.words([texts[point] for point in points.tolist()])
    is_known_V = _known_elsewhere(featurizer, checkpoint.num_texts)
    is_unknown_W = (tokens_W < 0) | ~is_known_V[tokens_W]
    words_R = np.bincount(rows_W, minlength=num_texts)
    unknown_R = np.bincount(rows_W, is_unknown_W, minlength=num_texts)
    shares_R = np.full(num_texts, np.nan)
    np.divide(unknown_R, words_R, out=shares_R, where=words_R > 0)
    return shares_R


def _known_elsewhere(featurizer: TextFeaturizer, num_texts: int) -> NDArray[np.bool_]:
    """Return whether each token would be in the vocabulary without one of the texts that it occurs in, bool [V].

    Tokens that occur in no text, such as words of word vectors, are known without any.
    """
    df_V = (1 + num_texts) / np.exp(featurizer.idf - 1) - 1  # the inverse of `inverse_document_frequency`
    return (df_V < 0.5) | (df_V > featurizer.config.min_df + 0.5)  # whole numbers, up to rounding
