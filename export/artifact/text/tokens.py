"""The kernels that split folded texts into tokens: words, runs of words, and character n-grams of each word.

A token is identified by the 64-bit hash of its text. Hashes are FNV-1a over code points, so that the hash of a longer
token continues the hash of its beginning. A final mix follows, because FNV's low bits alone make a poor table index.

Shapes: B texts, C code points of all texts together, T tokens of all texts together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.text.scripts import DENSE, IDEOGRAPH, PICTOGRAPH, is_picture, script_of

# Marks in the text of a character n-gram ("~<ca"): no word contains them, so that tokens of two kinds never collide.
_SUBWORD_MARK, _WORD_BEGIN, _WORD_END = ord("~"), ord("<"), ord(">")
_SPACE, _NEWLINE = ord(" "), ord("\n")
_MOST_BYTES = 4  # of a code point in UTF-8

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(32)

Ngrams = tuple[int, int, int, int]
"""Lengths of tokens: the longest run of words; the shortest and the longest character n-gram, 0 and 0 for none; and the
shortest n-gram of dense scripts, 0 for no difference between scripts."""

Codes = NDArray[np.uint8] | NDArray[np.uint32]
"""Code points [C] of folded texts, each followed by a newline; one byte each if all texts are ASCII."""


def encode_texts(folded: Iterable[str]) -> Codes:
    """Return the code points of texts that contain no newline."""
    # Every text ends with a newline, which is not part of a word: the kernels need no special case for the last word.
    joined = "\n".join(folded) + "\n"
    if joined.isascii():
        return np.frombuffer(joined.encode(), np.uint8)
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)


@njit(cache=True, nogil=True)
def token_texts(codes: Codes, spans: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the texts of the tokens at `spans` [K, 3] of `codes`, in UTF-8, and the offsets of each, [K + 1].

    The third number of a span is the token's kind. Kind 0 is a run of words. The kind of a character n-gram has bit 1
    set, bit 2 if it includes the word's begin, and bit 4 if it includes the word's end.
    """
    bound = 0
    for token in range(len(spans)):
        bound += 3 + _MOST_BYTES * (spans[token, 1] - spans[token, 0])
    blob, offsets, size = np.empty(bound, np.uint8), np.zeros(len(spans) + 1, np.int64), 0
    for token in range(len(spans)):
        begin, stop, kind = spans[token]
        if kind:
            size = _put(blob, size, _SUBWORD_MARK)
        if kind & 2:
            size = _put(blob, size, _WORD_BEGIN)
        for i in range(begin, stop):
            if codes[i] != _SPACE or codes[i - 1] != _SPACE:  # a run begins with a word: `i - 1` is not before it
                size = _put(blob, size, codes[i])
        if kind & 4:
            size = _put(blob, size, _WORD_END)
        offsets[token + 1] = size
    return blob[:size].copy(), offsets


@njit(cache=True, nogil=True)
def _put(blob: NDArray[np.uint8], size: int, code: int) -> int:
    """Append the UTF-8 of a code point to the first `size` bytes of `blob`; return the new size."""
    if code < 0x80:
        blob[size] = code
        return size + 1
    length = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for i in range(length - 1, 0, -1):
        blob[size + i] = 0x80 | (code & 0x3F)
        code >>= 6
    blob[size] = ((0xF00 >> length) & 0xFF) | code
    return size + length


@njit(cache=True)
def scan(
    codes: Codes, num_texts: int, ngrams: Ngrams
) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
    """Find every token of B texts: its hash [T], begin, stop and kind [T, 3] as in `token_texts`, and its text [T]."""
    bound = max_tokens(len(codes), ngrams)
    hashes, spans, rows = np.empty(bound, np.uint64), np.empty((bound, 3), np.int32), np.empty(bound, np.int64)
    position, size = 0, 0
    for row in range(num_texts):
        before = size
        position, size = scan_text(codes, position, ngrams, hashes, size, spans)
        rows[before:size] = row
    return hashes[:size], spans[:size], rows[:size]


@njit(cache=True, nogil=True, inline="always")
def max_tokens(num_codes: int, ngrams: Ngrams) -> int:
    """Return an upper bound of the number of tokens in texts of `num_codes` codes, newlines included.

    A word and the code after it are two codes or more; a word of n codes has n + 2 with its borders.
    """
    word_ngrams, min_char_ngram, max_char_ngram, min_dense_ngram = ngrams
    shortest = min(min_char_ngram, min_dense_ngram) if min_dense_ngram else min_char_ngram
    lengths = max_char_ngram - max(shortest, 1) + 1 if max_char_ngram else 0
    return (num_codes * (word_ngrams + 3 * lengths) + 1) // 2


@njit(cache=True, nogil=True)
def longest_text(codes: Codes) -> int:
    """Return the number of codes of the longest text, its newline included."""
    longest, begin = 0, 0
    for position in range(len(codes)):
        if codes[position] == _NEWLINE:
            longest, begin = max(longest, position + 1 - begin), position + 1
    return longest


@njit(cache=True, nogil=True)
def scan_text(
    codes: Codes,
    begin: int,
    ngrams: Ngrams,
    hashes: NDArray[np.uint64],
    size: int,
    spans: NDArray[np.int32] | None,
) -> tuple[int, int]:
    """Append the tokens of the text that begins at `begin` to the first `size` of `hashes` and, unless None, `spans`.

    Returns:
        The begin of the next text, and the new number of tokens.
    """
    word_ngrams, min_char_ngram, max_char_ngram, min_dense_ngram = ngrams
    # Two ring buffers over the last words: the begin of each, and the hash of the text from there on.
    begins, open_hashes = np.empty(word_ngrams, np.int64), np.empty(word_ngrams, np.uint64)
    num_words, position = 0, begin
    while codes[position] != _NEWLINE:
        if codes[position] == _SPACE:
            position += 1
            continue
        word = position
        while codes[position] != _SPACE and codes[position] != _NEWLINE:
            position += 1
        begins[num_words % word_ngrams] = word
        for first in range(num_words, max(num_words - word_ngrams, -1), -1):
            ring = first % word_ngrams
            h = _FNV_OFFSET if first == num_words else _step(open_hashes[ring], _SPACE)
            for i in range(word, position):
                h = _step(h, codes[i])
            open_hashes[ring] = h
            hashes[size] = _finish(h)
            if spans is not None:
                spans[size, 0], spans[size, 1], spans[size, 2] = begins[ring], position, 0
            size += 1
        num_words += 1
        if not max_char_ngram:
            continue
        shortest = min_char_ngram
        if codes.itemsize > 1 and min_dense_ngram:  # the first is known to the compiler, and false for ASCII texts
            script = script_of(codes[word])
            if script == IDEOGRAPH:  # a word of one character, whose n-grams would say the same
                continue
            if script == PICTOGRAPH:
                size = _scan_emoji(codes, word, position, hashes, size, spans)
                continue
            if script == DENSE:
                shortest = min(shortest, min_dense_ngram)
        size = _scan_word(codes, word, position, shortest, max_char_ngram, hashes, size, spans)
    return position + 1, size


@njit(cache=True, nogil=True)
def _scan_word(
    codes: Codes,
    begin: int,
    stop: int,
    min_char_ngram: int,
    max_char_ngram: int,
    hashes: NDArray[np.uint64],
    size: int,
    spans: NDArray[np.int32] | None,
) -> int:
    """Append the character n-grams of the word `codes[begin:stop]` between its borders `<` and `>`."""
    for first in range(begin - 1, stop + 1):
        h = _step(_FNV_OFFSET, _SUBWORD_MARK)
        for i in range(first, min(first + max_char_ngram, stop + 1)):
            if i < begin:
                h = _step(h, _WORD_BEGIN)
            elif i == stop:
                h = _step(h, _WORD_END)
            else:
                h = _step(h, codes[i])
            if i - first + 1 >= min_char_ngram:
                hashes[size] = _finish(h)
                if spans is not None:
                    kind = 1 + (2 if first < begin else 0) + (4 if i == stop else 0)
                    spans[size, 0], spans[size, 1], spans[size, 2] = max(first, begin), min(i + 1, stop), kind
                size += 1
    return size


@njit(cache=True, nogil=True)
def _scan_emoji(
    codes: Codes, begin: int, stop: int, hashes: NDArray[np.uint64], size: int, spans: NDArray[np.int32] | None
) -> int:
    """Append each picture of the emoji `codes[begin:stop]`, so that one in another skin tone is similar."""
    for i in range(begin, stop):
        if is_picture(codes[i]):
            hashes[size] = _finish(_step(_step(_FNV_OFFSET, _SUBWORD_MARK), codes[i]))
            if spans is not None:
                spans[size, 0], spans[size, 1], spans[size, 2] = i, i + 1, 1
            size += 1
    return size


@njit(cache=True, nogil=True)
def hash_text(codes: Codes, begin: int) -> tuple[int, np.uint64]:
    """Hash the whole text at `begin` as one token.

    Returns:
        The begin of the next text, and the hash.
    """
    h, position = _FNV_OFFSET, begin
    while codes[position] != _NEWLINE:
        h = _step(h, codes[position])
        position += 1
    return position + 1, _finish(h)


@njit(inline="always")
def _step(h: np.uint64, code: int) -> np.uint64:
    return (h ^ np.uint64(code)) * _FNV_PRIME


@njit(inline="always")
def _finish(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> _SHIFT)) * _MIX
    return h ^ (h >> _SHIFT)
