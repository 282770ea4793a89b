"""The market of the demo click log: its bid phrases, their popularity, and the clicks on them.

Shapes: P phrases, Q queries, C columns of a concept (the fields of `Concept`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.trainer.demo.catalogue import INTENTS, PLACES
from astec.trainer.demo.wording import ABSENT, PRODUCTS, Concept, phrase_text

PRODUCT, SURFACE, BRAND, ATTRIBUTE, PLACE, INTENT = range(len(Concept._fields))
SLOTS: Final = (BRAND, ATTRIBUTE, PLACE, INTENT)
"""The columns that may be ABSENT."""

MIN_PHRASES: Final = len(PRODUCTS)
MAX_PHRASES: Final = 1_000 * len(PRODUCTS)

NUM_SURFACES: Final = np.array([len(product) for _, product in PRODUCTS], np.int64)
"""Number of names of each product, [products]."""
_SLOT_SIZES: Final = np.array(
    [[0, 0, len(category.brands), len(category.attributes), len(PLACES), len(INTENTS)] for category, _ in PRODUCTS],
    np.int64,
)
"""Number of values of each column of SLOTS, [products, C]."""

_MAX_PHRASE_SLOTS: Final = 2
_SLOT_RARITY: Final = 1.2
_PRODUCT_EXPONENT: Final = 0.7
_PHRASE_EXPONENT: Final = 1.0
_PLURAL_SHARE: Final = 0.7
_USUAL_SURFACE_SHARE: Final = 0.8

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


@dataclass(frozen=True, slots=True)
class Market:
    """The bid phrases.

    Attributes:
        texts: the distinct phrases, [P].
        concepts: the concept of each phrase, int64 [P, C], sorted by product.
        popularity: share of the searchers who have each phrase in mind, Zipfian, float64 [P]; sums to 1.
    """

    texts: list[str]
    concepts: NDArray[np.int64]
    popularity: NDArray[np.float64]

    @classmethod
    def build(cls, num_phrases: int, rng: np.random.Generator) -> Market:
        """Draw the phrases that advertisers bid on, the same number for each product."""
        quotas = np.diff(np.linspace(0, num_phrases, len(PRODUCTS) + 1).astype(np.int64))
        concepts_PC = np.concatenate([_draw_concepts(p, int(quota), rng) for p, quota in enumerate(quotas)])
        plural_P = rng.random(num_phrases) < _PLURAL_SHARE
        texts = [
            phrase_text(Concept(*concept), in_plural=in_plural)
            for concept, in_plural in zip(concepts_PC.tolist(), plural_P.tolist(), strict=True)
        ]
        return cls(texts, concepts_PC, _draw_popularity(concepts_PC, rng))

    def clicks(self, queries_QC: NDArray[np.int64], rng: np.random.Generator) -> list[tuple[str, ...]]:
        """Return the phrases that are clicked for each query, the best fit first; at least one for each query.

        A phrase is more likely to be clicked if it shares more slots with the query, and if it is more popular.
        """
        clicked: list[tuple[str, ...]] = [()] * len(queries_QC)
        begins = np.searchsorted(self.concepts[:, PRODUCT], np.arange(len(PRODUCTS) + 1))
        by_product = np.argsort(queries_QC[:, PRODUCT], kind="stable")
        bounds = np.searchsorted(queries_QC[by_product, PRODUCT], np.arange(len(PRODUCTS) + 1))
        for product in range(len(PRODUCTS)):
            rows = by_product[bounds[product] : bounds[product + 1]]
            begin, end = int(begins[product]), int(begins[product + 1])
            logits = _fit(queries_QC[rows], self.concepts[begin:end])
            logits += _POPULARITY_PULL * np.log(self.popularity[begin:end] * len(self.texts))
            for row, phrases in zip(rows.tolist(), _draw_clicks(logits, rng), strict=True):
                clicked[row] = tuple(self.texts[begin + phrase] for phrase in phrases)
        return self._with_stray_clicks(clicked, rng)

    def _with_stray_clicks(self, clicked: list[tuple[str, ...]], rng: np.random.Generator) -> list[tuple[str, ...]]:
        strays = rng.choice(len(self.texts), size=len(clicked), p=self.popularity).tolist()
        stray_Q = (rng.random(len(clicked)) < _STRAY_CLICK_SHARE).tolist()
        return [
            tuple(dict.fromkeys((*phrases, self.texts[stray]))) if strayed else phrases
            for phrases, stray, strayed in zip(clicked, strays, stray_Q, strict=True)
        ]


def draw_values(slot: int, products: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a value of `slot` for each of `products` [n], int64 [n]: places by Zipf's law, other slots uniformly."""
    values: NDArray[np.int64]
    if slot == PLACE:
        values = rng.choice(len(PLACES), size=len(products), p=zipf(len(PLACES)))
    else:
        values = rng.integers(_SLOT_SIZES[products, slot])
    return values


def zipf(size: int, exponent: float = 1.0) -> NDArray[np.float64]:
    """Return Zipfian probabilities of ranks 1 to `size`, float64 [size]."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return weights / float(weights.sum())


def _draw_concepts(product: int, quota: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw distinct concepts of a product, int64 [quota, C]: the one without slots, then general ones more often."""
    concepts = _all_concepts(product)
    num_slots = (concepts[:, SLOTS] != ABSENT).sum(axis=1)
    # Taking the largest values of log weight plus Gumbel noise is a weighted draw without replacement.
    keys = (
        -_SLOT_RARITY * num_slots - 0.5 * np.log1p(np.maximum(concepts[:, PLACE], 0)) + rng.gumbel(size=len(concepts))
    )
    keys[num_slots == 0] = np.inf
    drawn = concepts[np.sort(np.argsort(-keys, kind="stable")[:quota])]
    usual = rng.random(len(drawn)) < _USUAL_SURFACE_SHARE
    drawn[:, SURFACE] = np.where(usual, 0, rng.integers(NUM_SURFACES[product], size=len(drawn)))
    return drawn


def _all_concepts(product: int) -> NDArray[np.int64]:
    """List every concept of a product with at most two slots, int64 [n, C]."""
    bare = np.array([product, 0, *[ABSENT] * len(SLOTS)], np.int64)
    blocks = [bare[None, :]]
    for num_slots in range(1, _MAX_PHRASE_SLOTS + 1):
        for slots in combinations(SLOTS, num_slots):
            values = np.indices(tuple(_SLOT_SIZES[product, slots].tolist())).reshape(num_slots, -1).T
            block = np.tile(bare, (len(values), 1))
            block[:, slots] = values
            blocks.append(block)
    return np.concatenate(blocks)


def _draw_popularity(concepts_PC: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the popularity of phrases: Zipfian by a rank that depends on their product, generality and chance."""
    product_popularity = rng.permutation(zipf(len(PRODUCTS), _PRODUCT_EXPONENT))
    num_slots = (concepts_PC[:, SLOTS] != ABSENT).sum(axis=1)
    keys = np.log(product_popularity[concepts_PC[:, PRODUCT]]) - _SLOT_RARITY * num_slots
    keys += rng.gumbel(size=len(keys))
    popularity = np.empty(len(keys))
    popularity[np.argsort(-keys, kind="stable")] = zipf(len(keys), _PHRASE_EXPONENT)
    return popularity


def _fit(queries_QC: NDArray[np.int64], phrases_PC: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute how well the phrases of a product fit queries for it, as logits of a click, float64 [Q, P]."""
    same_surface = queries_QC[:, None, SURFACE] == phrases_PC[None, :, SURFACE]
    fit_QP = np.where(same_surface, _SAME_SURFACE, -_SAME_SURFACE)
    for slot in SLOTS:
        asked, offered = queries_QC[:, None, slot], phrases_PC[None, :, slot]
        differing = np.where(asked == ABSENT, _PHRASE_SAYS_MORE, np.where(offered == ABSENT, _PHRASE_SAYS_LESS, _OTHER))
        same = np.where(asked == ABSENT, 0.0, _SAME)
        fit_QP += np.where(asked == offered, same, differing)
    return fit_QP


def _draw_clicks(logits_QP: NDArray[np.float64], rng: np.random.Generator) -> list[list[int]]:
    """Show each searcher the best phrases of a noisy auction, and let them click."""
    logits_QP = logits_QP + rng.normal(scale=_CLICK_NOISE, size=logits_QP.shape)
    shown = np.argsort(-logits_QP, axis=1, kind="stable")[:, :_NUM_SHOWN]
    logits = np.take_along_axis(logits_QP, shown, axis=1) + _CLICK_BIAS
    clicked = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    clicked[~clicked.any(axis=1), 0] = True
    return [phrases[chosen].tolist() for phrases, chosen in zip(shown, clicked, strict=True)]
