"""Where the words of a folded text begin and end.

A word is a run of letters, digits and marks of one kind of script, with the symbols that are part of it (`c++`, `.net`,
`50%`); or one Chinese character; or one emoji.
"""

from __future__ import annotations

import re

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.text.characters import CURRENCIES, SYMBOLS
from astec.export.artifact.text.scripts import (
    FLAG_LETTERS,
    FLAG_TAGS,
    HANGUL,
    HIRAGANA,
    IDEOGRAPHS,
    KATAKANA,
    PICTOGRAPHS,
    SKIN_TONES,
    SPACELESS,
    character_class,
)

_HAN, _HIRAGANA, _KATAKANA, _HANGUL, _SPACELESS = map(
    character_class, (IDEOGRAPHS, HIRAGANA, KATAKANA, HANGUL, SPACELESS)
)
_PICTURES, _FLAG, _TONES, _TAGS = map(character_class, (PICTOGRAPHS, FLAG_LETTERS, SKIN_TONES, FLAG_TAGS))
_LONG_VOWEL = "\u30fc"  # in the block of Katakana, and written in Hiragana too

# A letter, digit or mark of any other script: everything else that folding leaves.
_L = f"[^ {re.escape(SYMBOLS)}{CURRENCIES}{_HAN}{_HIRAGANA}{_KATAKANA}{_HANGUL}{_SPACELESS}{_PICTURES}{_TAGS}\u200d]"

_EMOJI = f"[{_FLAG}]{{2}}|[{_PICTURES}][{_TONES}]*[{_TAGS}]*(?:\u200d+[{_PICTURES}][{_TONES}]*)*"
# Two short sides or more: 24/7, r&b, at&t; and not c/c++, whose sides are words of their own.
_SHORT = rf"(?<!{_L})(?<![&/.@%{CURRENCIES}]){_L}{{1,2}}(?:[&/]{_L}{{1,2}})+(?!{_L}|[&/+#%{CURRENCIES}])"
_STARRED = rf"(?<!{_L})(?<![*.@&/])[a-z]\*(?!{_L}|[*.])"
_BEFORE = rf"(?<!{_L})(?<!\.)\.|(?<!{_L})@(?![0-9])|(?<!{_L})%(?=[0-9])|[{CURRENCIES}](?=[0-9])"  # .net, %5
_AFTER = (
    rf"\+{{1,3}}(?!{_L}|\+)|\+\+(?=[0-9])|\#(?!{_L}|\#)"  # c++, c++17, c#
    rf"|(?<=[0-9])%|(?<=[0-9])[{CURRENCIES}](?!{_L})"  # 50%off, 5€
)

_WORD = re.compile(
    f"[{_HAN}]|{_EMOJI}|[{_HIRAGANA}][{_HIRAGANA}{_LONG_VOWEL}]*|[{_KATAKANA}]+|[{_HANGUL}]+|[{_SPACELESS}]+"
    f"|{_SHORT}|{_STARRED}|(?:{_BEFORE})?{_L}+(?:{_AFTER})?|[{CURRENCIES}](?<!\\$)"
)

Span = tuple[int, int]
"""Begin and end of a part of a text, in characters."""

_SPACE, _NEWLINE, _NINE, _ZERO = ord(" "), ord("\n"), ord("9"), ord("0")
_PLUS, _HASH, _PERCENT, _DOLLAR, _STAR = ord("+"), ord("#"), ord("%"), ord("$"), ord("*")
_DOT, _AT, _AND, _SLASH = ord("."), ord("@"), ord("&"), ord("/")

_FOLDED = np.array([ord(chr(c).lower()) if chr(c).isalnum() else _SPACE for c in range(128)], np.uint8)
_FOLDED[_NEWLINE] = _NEWLINE
_IS_WORD = _FOLDED > _SPACE
_IS_SYMBOL = np.isin(np.arange(128), [_PLUS, _HASH, _PERCENT, _DOLLAR, _STAR, _DOT, _AT, _AND, _SLASH])


def separate(folded: str, max_chars: int) -> str:
    """Return the words of a text after `fold_characters`, with a space between each two, at most `max_chars` long."""
    words = " ".join(_WORD.findall(folded[:max_chars]))
    # A cut may divide a word so that less is left of it than the cut allows: at&t, or an emoji of several parts.
    return words if len(words) <= max_chars else " ".join(_WORD.findall(words[:max_chars]))


def word_spans(folded: str, max_chars: int) -> list[Span]:
    """Return where the words of `separate` are in a text after `fold_characters`."""
    spans = [match.span() for match in _WORD.finditer(folded[:max_chars])]
    words = " ".join(folded[begin:end] for begin, end in spans)
    if len(words) <= max_chars:
        return spans
    places = [place for begin, end in spans for place in range(begin, end + 1)]  # the last is that of the space
    again = [match.span() for match in _WORD.finditer(words[:max_chars])]
    return [(places[begin], places[end - 1] + 1) for begin, end in again]


@njit(cache=True, nogil=True)
def separate_ascii(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fold ASCII texts, each of which ends with a newline and has no other, and separate their words.

    The words are those of `separate`, at a small part of the cost. A symbol stays where it is part of a word, with a
    space wherever the word ends at it; everything else becomes a space.
    """
    out = np.empty(2 * len(codes), np.uint8)
    size, i, chain_stop, in_chain = 0, 0, 0, False
    while i < len(codes):
        code = codes[i]
        if not _IS_SYMBOL[code]:
            out[size] = _FOLDED[code]
            size, i = size + 1, i + 1
            continue
        before, after = codes[i - 1] if i else np.uint8(_NEWLINE), codes[i + 1]
        if code in (_AND, _SLASH):
            if i >= chain_stop:
                chain_stop, in_chain = _chain(codes, i)
            out[size] = code if in_chain else _SPACE
            size, i = size + 1, i + 1
            continue
        length = 1
        while code == _PLUS and codes[i + length] == _PLUS:
            length += 1
        ends = _ends_word(codes, i, length)
        begins = not ends and _begins_word(int(code), int(before), int(after))
        if begins:  # a word of its own: not a part of the word before it
            out[size] = _SPACE
            size += 1
        for _ in range(length):
            out[size] = code if ends or begins else _SPACE
            size += 1
        i += length
        if ends and _IS_WORD[codes[i]]:
            out[size] = _SPACE
            size += 1
    return out[:size]


@njit(cache=True, nogil=True, inline="always")
def _is_digit(code: int) -> bool:
    return _ZERO <= code <= _NINE


@njit(cache=True, nogil=True)
def _begins_word(code: int, before: int, after: int) -> bool:
    """Return True if a symbol between two characters is the first of a word: .net, @home, %50, $5."""
    if code == _DOLLAR:
        return _is_digit(after)
    if _IS_WORD[before] or not _IS_WORD[after]:
        return False
    if code == _DOT:
        return before != _DOT
    return (code == _AT and not _is_digit(after)) or (code == _PERCENT and _is_digit(after))


@njit(cache=True, nogil=True)
def _ends_word(codes: NDArray[np.uint8], i: int, length: int) -> bool:
    """Return True if the `length` equal symbols from `i` on are the last of a word: c++, c#, 50%, 5$, a*."""
    code, after = codes[i], codes[i + length]
    if i == 0 or not _IS_WORD[codes[i - 1]]:
        return False
    if code == _PLUS:
        return (length <= 3 and not _IS_WORD[after]) or (length == 2 and _is_digit(after))
    if code == _HASH:
        return not _IS_WORD[after] and after != _HASH
    if code == _STAR:
        if _is_digit(codes[i - 1]) or _IS_WORD[after] or after in (_STAR, _DOT):
            return False
        first = codes[i - 2] if i > 1 else np.uint8(_NEWLINE)
        return not _IS_WORD[first] and first not in (_DOT, _AT, _STAR, _AND, _SLASH)
    if not _is_digit(codes[i - 1]):
        return False
    return code == _PERCENT or (code == _DOLLAR and not _IS_WORD[after])


@njit(cache=True, nogil=True)
def _chain(codes: NDArray[np.uint8], i: int) -> tuple[int, bool]:
    """Look at the run of words, `/` and `&` around `i`.

    Returns:
        Its stop, and whether it is one word: 24/7, r&b.
    """
    begin, stop = i, i
    while begin > 0 and _IS_WORD[codes[begin - 1]]:
        begin -= 1
    before = codes[begin - 1] if begin else np.uint8(_NEWLINE)
    is_word = before not in (_DOT, _AT, _PERCENT, _DOLLAR)
    stop, side = begin, 0
    while _IS_WORD[codes[stop]] or codes[stop] == _AND or codes[stop] == _SLASH:
        if _IS_WORD[codes[stop]]:
            side += 1
            is_word = is_word and side <= 2
        else:
            is_word, side = is_word and side > 0, 0
        stop += 1
    after = codes[stop]
    is_word = is_word and side > 0
    return stop, is_word and after not in (_PLUS, _HASH, _PERCENT, _DOLLAR)
