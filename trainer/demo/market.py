"""The market of the demo click log: its bid phrases and their popularity.

Shapes: P phrases, C columns of a concept (the fields of `Concept`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.export.console import track
from astec.trainer.demo.products import (
    ABSENT,
    BRAND,
    MODEL,
    PLACE,
    PRODUCT,
    SURFACE,
    Assortment,
    Concept,
)
from astec.trainer.demo.wording import phrase_text

_PRODUCT_EXPONENT: Final = 0.7
_PLURAL_SHARE: Final = 0.7
_USUAL_SURFACE_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Market:
    """The bid phrases.

    Attributes:
        assortment: what the phrases are about.
        texts: the distinct phrases, [P].
        concepts: the concept of each phrase, int16 [P, C], sorted by product.
        popularity: share of the searchers who have each phrase in mind, Zipfian, float64 [P]; sums to 1.
    """

    assortment: Assortment
    texts: list[str]
    concepts: NDArray[np.int16]
    popularity: NDArray[np.float64]

    @classmethod
    def build(
        cls, assortment: Assortment, num_phrases: int, rng: np.random.Generator, *, show_progress: bool = False
    ) -> Market:
        """Draw the phrases that advertisers bid on, the same number for each product.

        Of phrases of different products that read alike only the first is kept, so a few may be missing.
        """
        num_products = len(assortment.products)
        quotas = np.diff(np.linspace(0, num_phrases, num_products + 1).astype(np.int64)).tolist()
        blocks = [
            _draw_concepts(assortment, product, quota, rng)
            for product, quota in enumerate(track(quotas, "phrases", shown=show_progress))
        ]
        concepts_PC = np.concatenate(blocks)
        plural_P = rng.random(num_phrases) < _PLURAL_SHARE
        texts, kept = _word(assortment, concepts_PC, plural_P, show_progress=show_progress)
        concepts_PC = concepts_PC[kept]
        return cls(assortment, texts, concepts_PC, _draw_popularity(assortment, concepts_PC, rng))


def text_key(text: str) -> int:
    """Return 64 bits of a hash that is the same in all processes; among 5 million texts two agree once in a million."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def draw_values(
    assortment: Assortment, slot: int, products: NDArray[np.int16], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a value of `slot` for each of `products` [n], int64 [n]: places by Zipf's law, other slots uniformly."""
    values: NDArray[np.int64]
    if slot == PLACE:
        num_places = int(assortment.num_values[0, PLACE])
        values = rng.choice(num_places, size=len(products), p=zipf(num_places))
    else:
        values = rng.integers(assortment.num_values[products, slot])
    return values


def zipf(size: int, exponent: float = 1.0) -> NDArray[np.float64]:
    """Return Zipfian probabilities of ranks 1 to `size`, float64 [size]."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return weights / float(weights.sum())


def count_slots(concepts: NDArray[np.int16]) -> NDArray[np.int64]:
    """Count the slots that are present in each of `concepts` [n, C], int64 [n]."""
    counts: NDArray[np.int64] = np.count_nonzero(concepts[:, BRAND:] != ABSENT, axis=1)
    return counts


def _draw_concepts(assortment: Assortment, product: int, quota: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Draw distinct concepts of a product, int16 [quota, C]: the one without slots, then general ones more often."""
    concepts = _all_concepts(tuple(assortment.num_values[product].tolist()), assortment.max_phrase_slots)
    num_slots = count_slots(concepts)
    # Taking the largest values of log weight plus Gumbel noise is a weighted draw without replacement.
    keys = (
        -assortment.rarity * num_slots
        - 0.5 * np.log1p(np.maximum(concepts[:, PLACE], 0).astype(np.float64))
        + rng.gumbel(size=len(concepts))
    )
    keys[num_slots == 0] = np.inf
    drawn = concepts[np.sort(np.argpartition(-keys, quota - 1)[:quota])]
    drawn[:, PRODUCT] = product
    usual = rng.random(len(drawn)) < _USUAL_SURFACE_SHARE
    drawn[:, SURFACE] = np.where(usual, 0, rng.integers(assortment.num_surfaces[product], size=len(drawn)))
    return drawn


@lru_cache(maxsize=16)  # most products of a category offer as many values
def _all_concepts(num_values: tuple[int, ...], max_slots: int) -> NDArray[np.int16]:
    """List every concept of the first product with at most `max_slots` slots, int16 [n, C].

    Args:
        num_values: number of values of each column; the columns of slots that do not exist have none.
        max_slots: most slots that are present.
    """
    bare = np.full(len(Concept._fields), ABSENT, np.int16)
    bare[[PRODUCT, SURFACE]] = 0
    blocks = [bare[None, :]]
    slots = [slot for slot, size in enumerate(num_values) if size]
    for num_slots in range(1, max_slots + 1):
        for chosen in combinations(slots, num_slots):
            if MODEL in chosen and BRAND not in chosen:  # a number says nothing without the maker
                continue
            values = np.indices(tuple(num_values[slot] for slot in chosen)).reshape(num_slots, -1).T
            block = np.tile(bare, (len(values), 1))
            block[:, chosen] = values
            blocks.append(block)
    return np.concatenate(blocks)


def _word(
    assortment: Assortment, concepts_PC: NDArray[np.int16], plural_P: NDArray[np.bool_], *, show_progress: bool
) -> tuple[list[str], list[int]]:
    """Return the distinct texts of the phrases, and which concept each is for."""
    texts: list[str] = []
    kept: list[int] = []
    keys: set[int] = set()
    for row, in_plural in enumerate(track(plural_P.tolist(), "wording of phrases", shown=show_progress)):
        concept = Concept(*concepts_PC[row].tolist())
        text = phrase_text(assortment.products[concept.product], concept, in_plural=in_plural)
        key = text_key(text)
        if key not in keys:
            keys.add(key)
            texts.append(text)
            kept.append(row)
    return texts, kept


def _draw_popularity(
    assortment: Assortment, concepts_PC: NDArray[np.int16], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the popularity of phrases: Zipfian by a rank that depends on their product, generality and chance."""
    product_popularity = rng.permutation(zipf(len(assortment.products), _PRODUCT_EXPONENT))
    keys = np.log(product_popularity[concepts_PC[:, PRODUCT]]) - assortment.rarity * count_slots(concepts_PC)
    keys += rng.gumbel(size=len(keys))
    popularity = np.empty(len(keys))
    popularity[np.argsort(-keys, kind="stable")] = zipf(len(keys), assortment.exponent)
    return popularity
