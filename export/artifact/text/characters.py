"""What becomes of each character of a text, after Unicode's normalisation and case folding.

Accents of Latin and Greek letters, optional vowel signs (Arabic, Hebrew) and what cannot be seen disappear; digits of
all scripts become ASCII; a character that can be no part of a word becomes a space.
"""

from __future__ import annotations

import re
import unicodedata

from astec.export.artifact.text.scripts import (
    FLAG_LETTERS,
    FLAG_TAGS,
    JOINER,
    PICTOGRAPHS,
    SKIN_TONES,
    Ranges,
    character_class,
)

SYMBOLS = ".@%+#&/*"
"""ASCII symbols that are a part of some words."""
CURRENCIES = "$¢£¥֏؋৲৳૱௹฿៛\u20a0-\u20cf"
"""Currency signs, as the inside of a regular expression's character class."""

_IS_CURRENCY = re.compile(f"[{CURRENCIES}]").fullmatch
_SPELLED = {
    **dict(zip("øđłħŧı", "odlhti", strict=True)),
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
    "ð": "d",
    "\u0451": "\u0435",  # Cyrillic io and ie
    "♯": "#",
    "٪": "%",
    "\u2044": "/",  # of fractions
    **dict(zip("آأإٱىیکة", "ااااييكه", strict=True)),
}
_OPTIONAL_MARKS: Ranges = (
    (0x0300, 0x036F),  # combining accents that are not part of a letter
    (0x0483, 0x0489),  # Old Cyrillic
    (0x0591, 0x05C7),  # Hebrew points
    (0x0610, 0x061A),  # Arabic vowel signs
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x08CA, 0x08FF),
    (0x1AB0, 0x1AFF),  # more combining accents
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE20, 0xFE2F),
)
_DROPPED_LETTERS = "\u0640\u115f\u1160"  # the Arabic tatweel, which only stretches a word, and empty Hangul letters
_LATIN_AND_GREEK: Ranges = ((0x61, 0x7A), (0xDF, 0x24F), (0x370, 0x3FF), (0x1D00, 0x1EFF), (0x1F00, 0x1FFF))

_PICTURES = character_class(PICTOGRAPHS)
_TAGS = character_class(FLAG_TAGS)
# Format characters, variation selectors and fillers, but neither the joiner nor the tags, which are a part of emoji.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e0080-\U000e0fff]+"
)
_STRAY = re.compile(f"(?<![{_PICTURES}])\u200d+|\u200d+(?![{_PICTURES}\u200d])|(?<![\U0001f3f4{_TAGS}])[{_TAGS}]+")
# A trade mark would become the letters "tm" at the end of the word before it, and the fraction of "5½" a part of its 5.
_APART = re.compile("[™℠]|(?=[¼-¾⅐-⅟↉])")


class _Characters(dict[int, str]):
    """What each code point becomes; computed at its first use, and kept for the first few thousand."""

    def __missing__(self, code: int) -> str:
        folded = _fold_character(chr(code))
        if len(self) < 1 << 14:  # a client must not fill the memory with all of Unicode
            self[code] = folded
        return folded


_CHARACTERS = _Characters()


def fold_characters(text: str) -> str:
    """Return the text with every character folded; of what is no part of a word, spaces, SYMBOLS and CURRENCIES stay.

    Pictographs stay too, with the joiners, skin tones and tags within them.
    """
    text = _APART.sub(" ", _without_unseen(text))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Once more, because letters that a dropped mark stood between may form a syllable.
    return unicodedata.normalize("NFKC", folded.translate(_CHARACTERS))


def _without_unseen(text: str) -> str:
    text = _UNSEEN.sub("", text)
    return _STRAY.sub("", text) if _STRAY.search(text) else text


def _fold_character(character: str) -> str:
    if character in _SPELLED:
        return _SPELLED[character]
    code, category = ord(character), unicodedata.category(character)
    if character in SYMBOLS or _IS_CURRENCY(character) or code == JOINER or _within(code, FLAG_TAGS):
        return character
    if _within(code, PICTOGRAPHS) and (category == "So" or code >= FLAG_LETTERS[0][0] or _within(code, SKIN_TONES)):
        return character
    digit = unicodedata.digit(character, None) if category[0] == "N" else None
    if digit is not None:
        return str(digit)
    if (category[0] == "M" and _within(code, _OPTIONAL_MARKS)) or character in _DROPPED_LETTERS:
        return ""
    if category[0] == "L" and _within(code, _LATIN_AND_GREEK):
        base = unicodedata.normalize("NFD", character)[0]
        return _SPELLED.get(base, base)
    return character if category[0] in "LNM" else " "


def _within(code: int, ranges: Ranges) -> bool:
    return any(begin <= code <= end for begin, end in ranges)
