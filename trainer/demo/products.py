"""The products of a market: what advertisers and searchers can say about each of them.

There are two markets. The small one has the products of `catalogue`, and phrases of up to two slots. The large one has
also the parts of these products, and for each product a choice of makers, models, materials and so on; its phrases have
up to three slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.trainer.demo.catalogue import CATEGORIES, INTENTS, PLACES, Category, Term
from astec.trainer.demo.wide_catalogue import BRAND_NAMES, COLOURS, EXTENSIONS, MODELS, MORE_PLACES

ABSENT: Final = -1


class Concept(NamedTuple):
    """The meaning of a phrase or query; all but product and surface, the slots, can be ABSENT.

    Attributes:
        product: index into the products of the market.
        surface: index into the product's names.
        brand: index into the product's offers of this slot, as are all that follow.
        attribute: its kind, such as waterproof.
        place: where it is sold.
        intent: what the searcher wants to do, such as to buy it.
        colour: its colour.
        material: of what it is made.
        size: its size.
        audience: for whom it is.
        price: the highest price.
        model: its number at its maker.
    """

    product: int
    surface: int
    brand: int
    attribute: int
    place: int
    intent: int
    colour: int
    material: int
    size: int
    audience: int
    price: int
    model: int


PRODUCT, SURFACE, BRAND, ATTRIBUTE, PLACE, INTENT, COLOUR, MATERIAL, SIZE, AUDIENCE, PRICE, MODEL = range(
    len(Concept._fields)
)
"""The columns of an array of concepts."""


@dataclass(frozen=True, slots=True)
class Product:
    """Something that is sold.

    Attributes:
        names: its names, in the singular; the plural changes the last word.
        offers: the values of each slot, by column of a concept; empty for a slot that the product does not have.
    """

    names: Term
    offers: tuple[tuple[Term, ...], ...]


@dataclass(frozen=True, slots=True)
class Assortment:
    """The products of a market.

    Attributes:
        products: all of them; each has the same number of places.
        slots: the columns of concepts that may be present.
        max_phrase_slots: most slots that are present in a phrase; queries may have one more.
        rarity: logarithm of how much rarer a phrase becomes with each slot.
        exponent: of the Zipfian popularity of phrases.
        num_surfaces: number of names of each product, int64 [products].
        num_values: number of values of each slot of each product, int64 [products, C].
    """

    products: tuple[Product, ...]
    slots: tuple[int, ...]
    max_phrase_slots: int
    rarity: float
    exponent: float
    num_surfaces: NDArray[np.int64]
    num_values: NDArray[np.int64]

    @classmethod
    def of(
        cls, products: Sequence[Product], slots: tuple[int, ...], max_phrase_slots: int, rarity: float, exponent: float
    ) -> Assortment:
        """Count what the products offer."""
        num_surfaces = np.array([len(product.names) for product in products], np.int64)
        num_values = np.array([[len(terms) for terms in product.offers] for product in products], np.int64)
        return cls(tuple(products), slots, max_phrase_slots, rarity, exponent, num_surfaces, num_values)


MIN_PHRASES: Final = sum(len(category.products) for category in CATEGORIES)
"""One phrase for each product of the small market."""
MAX_PHRASES: Final = 3_000_000
MAX_SMALL_PHRASES: Final = 100 * MIN_PHRASES
"""Most phrases of the small market; more are of the large one."""

_NUM_OFFERED: Final = {
    BRAND: 12,
    ATTRIBUTE: 10,
    PLACE: 24,
    INTENT: len(INTENTS),
    COLOUR: 8,
    MATERIAL: 6,
    SIZE: 8,
    AUDIENCE: 5,
    PRICE: 6,
    MODEL: 12,
}
"""How many values of a slot a product of the large market has at most."""
_NUM_NEW_BRANDS: Final = 40
_NUM_MODELS: Final = 150
_CHOICE_SEED: Final = 2027


def assortment_for(num_phrases: int) -> Assortment:
    """Return the products of a market with so many phrases, MIN_PHRASES to MAX_PHRASES."""
    return small_market() if num_phrases <= MAX_SMALL_PHRASES else large_market()


@cache
def small_market() -> Assortment:
    """Return the products of the catalogue, 300 of them."""
    products = [
        Product(names, _offers({BRAND: category.brands, ATTRIBUTE: category.attributes, PLACE: _PLACE_TERMS}))
        for category in CATEGORIES
        for names in category.products
    ]
    return Assortment.of(products, (BRAND, ATTRIBUTE, PLACE, INTENT), max_phrase_slots=2, rarity=1.2, exponent=1.0)


@cache
def large_market() -> Assortment:
    """Return the products of the catalogue and their parts, about 2,700, each with a choice of the words of its kind.

    The choice is the same for all logs, so that logs with other seeds are of the same market.
    """
    random = Random(_CHOICE_SEED)
    unused_brands = random.sample(BRAND_NAMES, len(BRAND_NAMES))
    products: list[Product] = []
    for category in CATEGORIES:
        new_brands, unused_brands = unused_brands[:_NUM_NEW_BRANDS], unused_brands[_NUM_NEW_BRANDS:]
        stock = _stock(category, new_brands, random)
        products += [Product(names, _offers(_choice(names, stock, random))) for names in _with_parts(category)]
    return Assortment.of(products, tuple(sorted(_NUM_OFFERED)), max_phrase_slots=3, rarity=3.0, exponent=0.6)


_PLACE_TERMS: Final = tuple((place,) for place in PLACES)


def _offers(values: dict[int, tuple[Term, ...]]) -> tuple[tuple[Term, ...], ...]:
    """Order the values of slots by column; every product has all intents."""
    return tuple((values | {INTENT: INTENTS}).get(column, ()) for column in range(len(Concept._fields)))


def _stock(category: Category, new_brands: Sequence[str], random: Random) -> dict[int, tuple[Term, ...]]:
    """Return everything that can be said about the products of a category, by slot; no name is in two slots."""
    extension = EXTENSIONS[category.name]
    stock = {
        BRAND: (*category.brands, *((brand,) for brand in new_brands)),
        PLACE: (*_PLACE_TERMS, *((place,) for place in MORE_PLACES)),
        COLOUR: COLOURS if extension.is_coloured else (),
        MATERIAL: extension.materials,
        SIZE: extension.sizes,
        AUDIENCE: extension.audiences,
        PRICE: extension.prices,
        MODEL: tuple(random.sample(MODELS, _NUM_MODELS)) if extension.has_models else (),
    }
    said = {name for terms in stock.values() for term in terms for name in term}
    stock[ATTRIBUTE] = tuple(term for term in category.attributes if said.isdisjoint(term))
    return stock


def _with_parts(category: Category) -> list[Term]:
    """List the names of a category's products, and those of the parts of each."""
    terms: list[Term] = []
    for names in category.products:
        terms.append(names)
        for part, *other_parts in EXTENSIONS[category.name].parts:
            synonyms = [f"{name} {part}" for name in names[1:]] + [f"{names[0]} {other}" for other in other_parts]
            terms.append((f"{names[0]} {part}", *synonyms))
    return terms


def _choice(names: Term, stock: dict[int, tuple[Term, ...]], random: Random) -> dict[int, tuple[Term, ...]]:
    """Choose what a product offers, in the order of popularity, without words that its usual name has already."""
    own_words = set(names[0].split())
    choice: dict[int, tuple[Term, ...]] = {}
    for slot in sorted(stock):
        terms = [term for term in stock[slot] if own_words.isdisjoint(term[0].split())]
        choice[slot] = tuple(random.sample(terms, min(len(terms), _NUM_OFFERED[slot])))
    return choice
