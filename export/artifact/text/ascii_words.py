"""The kernel that folds and separates ASCII texts: the patterns of `segmentation`, at a small part of their cost.

A symbol stays where it is part of a word, with a space wherever the word ends at it; everything else becomes a space.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SPACE, _NEWLINE, _NINE, _ZERO = ord(" "), ord("\n"), ord("9"), ord("0")
_PLUS, _HASH, _PERCENT, _DOLLAR, _STAR = ord("+"), ord("#"), ord("%"), ord("$"), ord("*")
_DOT, _AT, _AND, _SLASH = ord("."), ord("@"), ord("&"), ord("/")

_FOLDED = np.array([ord(chr(c).lower()) if chr(c).isalnum() else _SPACE for c in range(128)], np.uint8)
_FOLDED[_NEWLINE] = _NEWLINE
_IS_WORD = _FOLDED > _SPACE
_IS_SYMBOL = np.isin(np.arange(128), [_PLUS, _HASH, _PERCENT, _DOLLAR, _STAR, _DOT, _AT, _AND, _SLASH])


@njit(cache=True, nogil=True)
def separate_ascii(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the words of ASCII texts, each of which ends with a newline and has no other."""
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
        begins = not ends and _begins_word(code, before, after)
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
def _is_digit(code: np.uint8) -> bool:
    return _ZERO <= code <= _NINE


@njit(cache=True, nogil=True)
def _begins_word(code: np.uint8, before: np.uint8, after: np.uint8) -> bool:
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
