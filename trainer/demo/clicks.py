"""The clicks of the demo click log: an auction among the phrases of a query's product, and what the searcher clicks.

Phrases are sorted by product, so the phrases that compete for a query are a slice, and the work is in proportion to the
phrases of one product, not to all of them.

Shapes: Q queries, P phrases, C columns of a concept, K phrases that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.console import track
from astec.trainer.demo.market import Market
from astec.trainer.demo.products import ABSENT, BRAND, PRODUCT, SURFACE

# How much each slot adds to the logit of a click.
_SAME: Final = 1.5
_OTHER: Final = -4.0
_PHRASE_SAYS_MORE: Final = -2.0
_PHRASE_SAYS_LESS: Final = -1.0
_SAME_SURFACE: Final = 0.5
_POPULARITY_PULL: Final = 0.25
_CLICK_NOISE: Final = 0.7
_CLICK_BIAS: Final = 0.3
_NUM_SHOWN: Final = 8
_STRAY_CLICK_SHARE: Final = 0.03
_BLOCK_PAIRS: Final = 2**23
"""Most pairs of query and phrase whose noise is in memory at once."""


@dataclass(frozen=True, slots=True)
class Clicks:
    """The phrases that are clicked for each query.

    Attributes:
        phrases: the clicked phrases of all queries, int32 [clicks].
        begins: where the clicks of each query begin, int64 [Q].
        ends: where they end, int64 [Q].
        strays: a click by mistake on any phrase, or ABSENT, int32 [Q].
    """

    phrases: NDArray[np.int32]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    strays: NDArray[np.int32]

    def of(self, query: int) -> list[int]:
        """Return the phrases that are clicked for a query, the best fit first; each once, and at least one."""
        phrases: list[int] = self.phrases[self.begins[query] : self.ends[query]].tolist()
        stray = int(self.strays[query])
        if stray != ABSENT and stray not in phrases:
            phrases.append(stray)
        return phrases


def draw_clicks(
    market: Market, queries_QC: NDArray[np.int16], rng: np.random.Generator, *, show_progress: bool = False
) -> Clicks:
    """Draw the clicks of queries.

    A phrase is more likely to be clicked if it shares more slots with the query, and if it is more popular.
    """
    products = np.arange(len(market.assortment.products) + 1)
    begins = np.searchsorted(market.concepts[:, PRODUCT], products)
    by_product = np.argsort(queries_QC[:, PRODUCT], kind="stable")
    bounds = np.searchsorted(queries_QC[by_product, PRODUCT], products)
    pulls_P = _POPULARITY_PULL * np.log(market.popularity * len(market.texts))
    counts = np.zeros(len(queries_QC), np.int64)
    clicked = [np.empty(0, np.int32)]
    for product in track(products[:-1].tolist(), "clicks", shown=show_progress):
        begin, end = int(begins[product]), int(begins[product + 1])
        step = _BLOCK_PAIRS // max(1, end - begin)
        for first in range(int(bounds[product]), int(bounds[product + 1]), step):
            rows = by_product[first : min(first + step, int(bounds[product + 1]))]
            phrases, counts[rows] = _draw_block(queries_QC[rows], market.concepts[begin:end], pulls_P[begin:end], rng)
            clicked.append(phrases + np.int32(begin))
    ends = np.empty_like(counts)
    ends[by_product] = np.cumsum(counts[by_product])
    return Clicks(np.concatenate(clicked), ends - counts, ends, _draw_strays(market, len(queries_QC), rng))


def count_clicked(clicks: Clicks, queries: Sequence[int], num_phrases: int) -> int:
    """Count the phrases that are clicked for any of `queries`."""
    is_clicked = np.zeros(num_phrases, np.bool_)
    for query in queries:
        is_clicked[clicks.of(query)] = True
    return int(is_clicked.sum())


def _draw_block(
    queries_QC: NDArray[np.int16],
    phrases_PC: NDArray[np.int16],
    pulls_P: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Show each searcher the best phrases of a noisy auction, and let them click.

    Returns:
        The clicked phrases of all queries, int32 [clicks], and how many are of each query, int64 [Q].
    """
    noise_QP = rng.normal(scale=_CLICK_NOISE, size=(len(queries_QC), len(phrases_PC)))
    shown_QK, logits_QK = find_best(queries_QC, phrases_PC, pulls_P, noise_QP, min(_NUM_SHOWN, len(phrases_PC)))
    clicked_QK = rng.random(logits_QK.shape) < 1 / (1 + np.exp(-(logits_QK + _CLICK_BIAS)))
    clicked_QK[~clicked_QK.any(axis=1), 0] = True
    return shown_QK[clicked_QK], clicked_QK.sum(axis=1)


@njit(cache=True, nogil=True)
def find_best(
    queries_QC: NDArray[np.int16],
    phrases_PC: NDArray[np.int16],
    pulls_P: NDArray[np.float64],
    noise_QP: NDArray[np.float64],
    num_shown: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find the phrases of a product that fit queries for it best.

    Args:
        queries_QC: the concepts of the queries.
        phrases_PC: the concepts of the phrases.
        pulls_P: what the popularity of each phrase adds to its logit.
        noise_QP: what chance adds.
        num_shown: K, at most P.

    Returns:
        The phrases by falling logit, int32 [Q, K], and their logits, float64 [Q, K].
    """
    best_QK = np.zeros((len(queries_QC), num_shown), np.int32)
    logits_QK = np.full((len(queries_QC), num_shown), -np.inf)
    for query in range(len(queries_QC)):
        query_C = queries_QC[query]
        for phrase in range(len(phrases_PC)):
            logit = _fit(query_C, phrases_PC[phrase]) + pulls_P[phrase] + noise_QP[query, phrase]
            at = num_shown
            while at > 0 and logit > logits_QK[query, at - 1]:
                at -= 1
            for later in range(num_shown - 1, at, -1):
                logits_QK[query, later] = logits_QK[query, later - 1]
                best_QK[query, later] = best_QK[query, later - 1]
            if at < num_shown:
                logits_QK[query, at] = logit
                best_QK[query, at] = phrase
    return best_QK, logits_QK


@njit(cache=True, nogil=True, inline="always")
def _fit(query_C: NDArray[np.int16], phrase_C: NDArray[np.int16]) -> float:
    """Compute how well a phrase fits a query for the same product, as a logit of a click."""
    fit = _SAME_SURFACE if query_C[SURFACE] == phrase_C[SURFACE] else -_SAME_SURFACE
    for slot in range(BRAND, len(query_C)):
        asked, offered = query_C[slot], phrase_C[slot]
        if asked == offered:
            if asked != ABSENT:
                fit += _SAME
        elif asked == ABSENT:
            fit += _PHRASE_SAYS_MORE
        elif offered == ABSENT:
            fit += _PHRASE_SAYS_LESS
        else:
            fit += _OTHER
    return fit


def _draw_strays(market: Market, num_queries: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw clicks by mistake, on popular phrases more often, int32 [Q]; ABSENT for most queries."""
    strays = rng.choice(len(market.texts), size=num_queries, p=market.popularity)
    return np.where(rng.random(num_queries) < _STRAY_CLICK_SHARE, strays, ABSENT).astype(np.int32)
