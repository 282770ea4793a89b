"""The queries of the demo click log: what searchers have in mind, and the distinct texts they type.

Shapes: Q queries, C columns of a concept (the fields of `Concept`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.console import track
from astec.trainer.demo.market import Market, draw_values, text_key
from astec.trainer.demo.products import ABSENT, PRODUCT, SURFACE, Concept
from astec.trainer.demo.wording import query_text

_FORGOTTEN_SHARE: Final = 0.2
_ADDED_SHARE: Final = 0.5
_USUAL_SURFACE_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries of a market.

    Attributes:
        texts: their texts, all different, [Q].
        concepts: what each is about, int16 [Q, C].
    """

    texts: TextTable
    concepts: NDArray[np.int16]

    @classmethod
    def draw(cls, market: Market, count: int, rng: np.random.Generator, *, show_progress: bool = False) -> Queries:
        """Draw `count` queries by the popularity of phrases; texts that were drawn before are drawn again."""
        random = Random(int(rng.integers(2**32)))
        blob = bytearray()
        ends = array("q", [0])
        keys: set[int] = set()
        kept_blocks = []
        while len(keys) < count:
            concepts_QC = _draw_concepts(market, count, rng)
            kept = array("q")
            for row in track(range(count), "queries", shown=show_progress):
                concept = Concept(*concepts_QC[row].tolist())
                text = query_text(market.assortment.products[concept.product], concept, random)
                key = text_key(text)
                if key not in keys:
                    keys.add(key)
                    blob += text.encode()
                    ends.append(len(blob))
                    kept.append(row)
                    if len(keys) == count:
                        break
            kept_blocks.append(concepts_QC[np.array(kept, np.int64)])
        texts = TextTable(np.frombuffer(blob, np.uint8), np.frombuffer(ends, np.int64))
        return cls(texts, np.concatenate(kept_blocks))


def _draw_concepts(market: Market, count: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Draw what searchers have in mind, int16 [count, C]: a phrase, sometimes without a slot or with one more."""
    assortment = market.assortment
    concepts_QC = market.concepts[rng.choice(len(market.texts), size=count, p=market.popularity)]
    forgotten = rng.choice(assortment.slots, size=count)
    forgetful = np.flatnonzero(rng.random(count) < _FORGOTTEN_SHARE)
    concepts_QC[forgetful, forgotten[forgetful]] = ABSENT
    added = rng.choice(assortment.slots, size=count)
    for slot in assortment.slots:
        is_added = (added == slot) & (concepts_QC[:, slot] == ABSENT) & (rng.random(count) < _ADDED_SHARE)
        is_added &= assortment.num_values[concepts_QC[:, PRODUCT], slot] > 0
        rows = np.flatnonzero(is_added)
        concepts_QC[rows, slot] = draw_values(assortment, slot, concepts_QC[rows, PRODUCT], rng)
    num_surfaces_Q = assortment.num_surfaces[concepts_QC[:, PRODUCT]]
    usual = rng.random(count) < _USUAL_SURFACE_SHARE
    concepts_QC[:, SURFACE] = np.where(usual, concepts_QC[:, SURFACE], rng.integers(num_surfaces_Q))
    return concepts_QC
