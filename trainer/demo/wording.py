"""The wording of the demo click log's concepts: regular in bid phrases, varied and misspelt in queries."""

from __future__ import annotations

from random import Random
from typing import Final

from astec.trainer.demo.catalogue import FILLERS, Term, plural
from astec.trainer.demo.products import (
    ABSENT,
    ATTRIBUTE,
    AUDIENCE,
    BRAND,
    COLOUR,
    INTENT,
    MATERIAL,
    MODEL,
    PLACE,
    PRICE,
    SIZE,
    Concept,
    Product,
)

_USUAL_WORD_SHARE: Final = 0.6
_PLURAL_SHARE: Final = 0.5
_REORDERED_SHARE: Final = 0.2
_FILLER_SHARE: Final = 0.1
_TYPO_SHARE: Final = 0.1
_SHORTEST_MISTYPED: Final = 5

_BEFORE: Final = (AUDIENCE, MATERIAL, COLOUR, ATTRIBUTE, MODEL)
"""The slots whose words stand before the noun, from the nearest to the farthest; the brand is before all of them."""
_AFTER: Final = (SIZE, PRICE)
"""The slots whose words stand after the noun; the place is after both."""


def phrase_text(product: Product, concept: Concept, *, in_plural: bool) -> str:
    """Word a bid phrase: brand, attributes, product, size, price, place, each in its usual form."""
    noun = product.names[concept.surface]
    parts = [plural(noun) if in_plural else noun]
    for slot in (*_BEFORE, BRAND):
        if concept[slot] != ABSENT:
            _put(product.offers[slot][concept[slot]][0], slot, parts)
    parts += [product.offers[slot][concept[slot]][0] for slot in (*_AFTER, PLACE) if concept[slot] != ABSENT]
    text = " ".join(parts)
    return text if concept.intent == ABSENT else product.offers[INTENT][concept.intent][0].format(text)


def query_text(product: Product, concept: Concept, random: Random) -> str:
    """Word a query: with synonyms, plurals, another order of words, filler words and typing errors."""
    noun = product.names[concept.surface]
    parts = [plural(noun) if random.random() < _PLURAL_SHARE else noun]
    for slot in _BEFORE:
        if concept[slot] != ABSENT:
            _put(_one_of(product.offers[slot][concept[slot]], random), slot, parts)
    if concept.brand != ABSENT:
        parts.insert(0, product.offers[BRAND][concept.brand][0])
    parts += [_one_of(product.offers[slot][concept[slot]], random) for slot in _AFTER if concept[slot] != ABSENT]
    if concept.place != ABSENT:
        (place,) = product.offers[PLACE][concept.place]
        parts.append(place if random.random() < _USUAL_WORD_SHARE else f"in {place}")
    if random.random() < _REORDERED_SHARE:
        random.shuffle(parts)
    if random.random() < _FILLER_SHARE:
        parts.insert(0, FILLERS[random.randrange(len(FILLERS))])
    text = " ".join(parts)
    if concept.intent != ABSENT:
        text = _one_of(product.offers[INTENT][concept.intent], random).format(text)
    return _mistyped(text, random) if random.random() < _TYPO_SHARE else text


def _put(words: str, slot: int, parts: list[str]) -> None:
    """Put the words of a slot before all parts, and audiences such as `for runners` after them."""
    parts.insert(len(parts) if slot == AUDIENCE and words.startswith("for ") else 0, words)


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
