"""Scripts that need tokens of their own: those written without spaces, and pictographs.

The ranges are of code points of folded texts, both ends included.
"""

from __future__ import annotations

from collections.abc import Iterable

from numba import njit

Ranges = tuple[tuple[int, int], ...]

IDEOGRAPHS: Ranges = (
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x303C),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Chinese characters, each of which is a word."""

HIRAGANA: Ranges = ((0x3041, 0x309F), (0x1B001, 0x1B11F), (0x1B150, 0x1B152))
KATAKANA: Ranges = ((0x30A0, 0x30FF), (0x31F0, 0x31FF), (0x1B000, 0x1B000), (0x1B164, 0x1B167))
HANGUL: Ranges = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
SPACELESS: Ranges = (
    (0x0E01, 0x0E3A),  # Thai without its currency sign
    (0x0E40, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17DA),  # Khmer without its currency sign
    (0x17DC, 0x17FF),
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, symbols of Khmer
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x3100, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xAADF),  # Javanese, Cham, more of Burmese, Tai Viet
)
"""Further scripts written without spaces, whose words have several characters."""

PICTOGRAPHS: Ranges = ((0x2300, 0x23FF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FAFF))
"""The blocks of emoji and other small pictures. A skin tone is a modifier within the last block."""

FLAG_LETTERS: Ranges = ((0x1F1E6, 0x1F1FF),)
SKIN_TONES: Ranges = ((0x1F3FB, 0x1F3FF),)
FLAG_TAGS: Ranges = ((0xE0020, 0xE007F),)
JOINER = 0x200D

ORDINARY, IDEOGRAPH, DENSE, PICTOGRAPH = 0, 1, 2, 3
"""What `script_of` tells apart: DENSE scripts say much in two characters (kana, Hangul, scripts without spaces)."""

_FIRST_DENSE = SPACELESS[0][0]
_DENSE = HANGUL + HIRAGANA + KATAKANA + SPACELESS


def character_class(ranges: Iterable[tuple[int, int]]) -> str:
    """Return the inside of a regular expression's character class."""
    return "".join(f"\\U{begin:08x}-\\U{end:08x}" for begin, end in ranges)


@njit(cache=True, nogil=True)
def script_of(code: int) -> int:
    """Return how words that begin with this code point are split: ORDINARY, IDEOGRAPH, DENSE or PICTOGRAPH."""
    if code < _FIRST_DENSE:
        return ORDINARY
    for begin, end in IDEOGRAPHS:
        if begin <= code <= end:
            return IDEOGRAPH
    for begin, end in _DENSE:
        if begin <= code <= end:
            return DENSE
    for begin, end in PICTOGRAPHS:
        if begin <= code <= end:
            return PICTOGRAPH
    return ORDINARY


@njit(cache=True, nogil=True)
def is_picture(code: int) -> bool:
    """Return True for the pictures within an emoji: neither a skin tone, nor a part of a flag, nor what joins them."""
    for begin, end in FLAG_LETTERS + SKIN_TONES:
        if begin <= code <= end:
            return False
    return script_of(code) == PICTOGRAPH
