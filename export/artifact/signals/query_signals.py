"""The signals of a query: how much of it the model does not know, and how sure its answer is.

| signal | value | none for |
|---|---|---|
| `unknown_words` | the share of the query's words that are no token of the vocabulary | queries without words |
| `top_score` | the score of the best label; 0 if there is no label | |
| `entropy` | the entropy, in bits, of the scores of the best five labels as shares of their sum | empty answers |

A query that is a bag has no words. There is no entropy either where fewer than five labels are ranked.

The server measures its queries, and `astec-export` the held-out texts, so that the two can be compared.

Shapes: B queries, K ranks, S slots of the token table; 3 signals, in the order of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.text.bags import Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.token_table import find
from astec.export.artifact.text.tokens import Codes, longest_text, max_tokens, scan_text

SignalName = Literal["unknown_words", "top_score", "entropy"]
SIGNALS: tuple[SignalName, ...] = get_args(SignalName)

ENTROPY_RANKS: Final = 5
"""The number of best labels whose scores the entropy is of; a fixed one, so that it does not depend on `top_k`."""

BOUNDS: dict[SignalName, tuple[float, ...]] = {
    "unknown_words": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "top_score": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    "entropy": (0.5, 0.8, 1.1, 1.3, 1.5, 1.7, 1.9, 2.0, 2.1, 2.2, 2.25, 2.3, 2.33),
}
"""The upper bounds of the bins of each signal's histogram; a last bin without bound follows."""

NO_SIGNALS = np.empty((0, len(SIGNALS)))
"""The place for signals that nobody wants: nothing is measured."""

_UNKNOWN_WORDS, _TOP_SCORE, _ENTROPY = range(len(SIGNALS))
_WORDS_ALONE = (1, 0, 0, 0)


def place_for_signals(num_queries: int) -> NDArray[np.float64]:
    """Return an array to write the signals of B queries into, float64 [B, 3]."""
    return np.empty((num_queries, len(SIGNALS)))


def measure(
    featurizer: Featurizer,
    queries: Sequence[Query],
    labels_BK: NDArray[np.int64],
    scores_BK: NDArray[np.float32],
    signals_B3: NDArray[np.float64],
) -> None:
    """Write the signals of B ranked queries into `signals_B3`, NaN for those that a query has not.

    Args:
        featurizer: of the model.
        queries: texts or bags; a bag has no words.
        labels_BK: the labels of each, best first, -1 after the last.
        scores_BK: the scores of these labels.
        signals_B3: from `place_for_signals`.
    """
    measure_scores(labels_BK, scores_BK, signals_B3)
    if isinstance(featurizer, TextFeaturizer):
        texts = [query if isinstance(query, str) else "" for query in queries]
        table_S, *_ = featurizer.arguments()
        measure_words(featurizer.encode(texts), table_S, signals_B3)
    else:
        signals_B3[:, _UNKNOWN_WORDS] = np.nan


@njit(cache=True, nogil=True)
def measure_words(codes: Codes, table_S: NDArray[np.uint64], signals_B3: NDArray[np.float64]) -> None:
    """Write the share of unknown words of B texts, given their code points; NaN for a text without words."""
    hashes = np.empty(max_tokens(longest_text(codes), _WORDS_ALONE), np.uint64)
    position = 0
    for row in range(len(signals_B3)):
        position, num_words = scan_text(codes, position, _WORDS_ALONE, hashes, 0, None)
        unknown = 0
        for word in range(num_words):
            if find(hashes[word], table_S) < 0:
                unknown += 1
        signals_B3[row, _UNKNOWN_WORDS] = unknown / num_words if num_words else np.nan


@njit(cache=True, nogil=True)
def measure_scores(
    labels_BK: NDArray[np.int64], scores_BK: NDArray[np.float32], signals_B3: NDArray[np.float64]
) -> None:
    """Write the top score and the entropy of B rankings."""
    num_ranks = min(ENTROPY_RANKS, labels_BK.shape[1])
    for row in range(len(signals_B3)):
        found, total = 0, 0.0
        while found < num_ranks and labels_BK[row, found] >= 0:
            total += np.float64(scores_BK[row, found])
            found += 1
        signals_B3[row, _TOP_SCORE] = np.float64(scores_BK[row, 0]) if found else 0.0
        if num_ranks < ENTROPY_RANKS or total <= 0.0:
            signals_B3[row, _ENTROPY] = np.nan
            continue
        entropy_bits = 0.0
        for rank in range(found):
            share = np.float64(scores_BK[row, rank]) / total
            if share > 0.0:
                entropy_bits -= share * np.log2(share)
        signals_B3[row, _ENTROPY] = entropy_bits
