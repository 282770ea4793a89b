"""The wording of the demo click log's concepts: regular in bid phrases, varied and misspelt in queries."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from astec.trainer.demo.catalogue import CATEGORIES, FILLERS, INTENTS, PLACES, Category, Term, plural

ABSENT: Final = -1

PRODUCTS: Final[tuple[tuple[Category, Term], ...]] = tuple(
    (category, product) for category in CATEGORIES for product in category.products
)
"""Every product with its category; a concept refers to a product by its index here."""

_USUAL_WORD_SHARE: Final = 0.6
_PLURAL_SHARE: Final = 0.5
_REORDERED_SHARE: Final = 0.2
_FILLER_SHARE: Final = 0.1
_TYPO_SHARE: Final = 0.1
_SHORTEST_MISTYPED: Final = 5


class Concept(NamedTuple):
    """The meaning of a phrase or query, as indices into the catalogue; all but product and surface can be ABSENT.

    Attributes:
        product: index into PRODUCTS.
        surface: index into the product's names.
        brand: index into the brands of the product's category.
        attribute: index into the attributes of the product's category.
        place: index into PLACES.
        intent: index into INTENTS.
    """

    product: int
    surface: int
    brand: int
    attribute: int
    place: int
    intent: int


def phrase_text(concept: Concept, *, in_plural: bool) -> str:
    """Word a bid phrase: brand, attribute, product, place, each in its usual form."""
    category, product = PRODUCTS[concept.product]
    noun = product[concept.surface]
    parts = (
        category.brands[concept.brand][0] if concept.brand != ABSENT else "",
        category.attributes[concept.attribute][0] if concept.attribute != ABSENT else "",
        plural(noun) if in_plural else noun,
        PLACES[concept.place] if concept.place != ABSENT else "",
    )
    text = " ".join(filter(None, parts))
    return text if concept.intent == ABSENT else INTENTS[concept.intent][0].format(text)


def query_text(concept: Concept, random: Random) -> str:
    """Word a query: with synonyms, plurals, another order of words, filler words and typing errors."""
    category, product = PRODUCTS[concept.product]
    noun = product[concept.surface]
    parts = [plural(noun) if random.random() < _PLURAL_SHARE else noun]
    if concept.attribute != ABSENT:
        parts.insert(0, _one_of(category.attributes[concept.attribute], random))
    if concept.brand != ABSENT:
        parts.insert(0, category.brands[concept.brand][0])
    if concept.place != ABSENT:
        place = PLACES[concept.place]
        parts.append(place if random.random() < _USUAL_WORD_SHARE else f"in {place}")
    if random.random() < _REORDERED_SHARE:
        random.shuffle(parts)
    if random.random() < _FILLER_SHARE:
        parts.insert(0, FILLERS[random.randrange(len(FILLERS))])
    text = " ".join(parts)
    if concept.intent != ABSENT:
        text = _one_of(INTENTS[concept.intent], random).format(text)
    return _mistyped(text, random) if random.random() < _TYPO_SHARE else text


def _one_of(term: Term, random: Random) -> str:
    return term[0] if random.random() < _USUAL_WORD_SHARE else term[random.randrange(len(term))]


def _mistyped(text: str, random: Random) -> str:
    """Drop, double or swap a letter inside one of the longer words."""
    words = text.split(" ")
    long_words = [position for position, word in enumerate(words) if len(word) >= _SHORTEST_MISTYPED]
    if not long_words:
        return text
    position = long_words[random.randrange(len(long_words))]
    word = words[position]
    at = random.randrange(1, len(word) - 1)
    before, letter, following, after = word[:at], word[at], word[at + 1], word[at + 2 :]
    middles = (following, letter + letter + following, following + letter)
    words[position] = before + middles[random.randrange(len(middles))] + after
    return " ".join(words)
