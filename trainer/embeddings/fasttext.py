"""Token vectors from a fastText binary model, for every token that the model's words and subwords can build.

The file has the layout of fastText's `FastText::saveModel`, versions 11 and 12, in little-endian byte order.

Shapes: V tokens, I input rows (words, then buckets of character n-grams), D dimensions, E entries (pairs of a token and
one of its input rows).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.readers import DataError

_MAGIC, _VERSIONS = 793712314, (11, 12)
_HEADER = struct.Struct("<2i")
_ARGUMENTS = struct.Struct("<12id")
_DICTIONARY = struct.Struct("<3i2q")
_ENTRY_TAIL = struct.Struct("<qb")  # a word's count and kind, which follow its text
_MATRIX = struct.Struct("<?2q")
_SUPERVISED, _OLD_VERSION = 3, 11
_WHOLE_FILE = "Copy or download the file again, or pass the .vec file that belongs to it"
_FNV_OFFSET, _FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
_WORD_BEGIN, _WORD_END = ord("<"), ord(">")


@dataclass(frozen=True, slots=True)
class FastTextModel:
    """The words and input vectors of a model.

    Attributes:
        words: the dictionary, most frequent word first, as bytes; UTF-8 unless the training text was not.
        vectors: float32 [I, D], memory-mapped.
        min_ngram, max_ngram: least and most characters of a subword, including the marks `<` and `>` of a word's ends.
    """

    words: list[bytes]
    vectors: NDArray[np.float32]
    min_ngram: int
    max_ngram: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the model at `path`.

        Raises:
            DataError: the file cannot be read, is cut short, is not a fastText model, or is a quantised one.
        """
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return cls._parse(path, content)
        except (struct.error, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(path, None, f"the file is cut short or damaged ({error})", _WHOLE_FILE) from None
        except OSError as error:
            raise DataError(path, None, f"cannot be read ({error.strerror})", "Pass a file that may be read") from None

    @classmethod
    def _parse(cls, path: Path, content: mmap.mmap) -> Self:
        magic, version = _HEADER.unpack_from(content)
        if magic != _MAGIC or version not in _VERSIONS:
            problem = f"is no fastText model of version 11 or 12 (it begins with {magic} and {version})"
            raise DataError(path, None, problem, "Pass what `fasttext` wrote as model.bin, or the .vec file beside it")
        arguments = _ARGUMENTS.unpack_from(content, _HEADER.size)
        dim, kind, num_buckets, min_ngram, max_ngram = (arguments[i] for i in (0, 7, 8, 9, 10))
        if version == _OLD_VERSION and kind == _SUPERVISED:
            max_ngram = 0  # classifiers of that version have the setting but no subwords
        words, position = _read_dictionary(content, _HEADER.size + _ARGUMENTS.size)
        is_quantised, num_rows, num_columns = _MATRIX.unpack_from(content, position)
        if is_quantised:
            raise DataError(path, None, "is a quantised model", "Pass the model from before `fasttext quantize`")
        if (num_rows, num_columns) != (len(words) + num_buckets, dim):
            expected = f"{len(words)} words and {num_buckets} buckets x {dim}"
            raise ValueError(f"it has {num_rows} x {num_columns} numbers for {expected}")
        begin = position + _MATRIX.size
        end = begin + 4 * num_rows * num_columns
        if end > len(content):
            raise ValueError(f"it has {len(content)} bytes, and its vectors would end at {end}")
        vectors = np.memmap(path, "<f4", "r", begin, (num_rows, num_columns))
        return cls(words, vectors, min_ngram, max_ngram)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors, D."""
        return int(self.vectors.shape[1])

    def token_vectors(
        self, tokens: Sequence[bytes], words_V: NDArray[np.int64], is_subword_V: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Compute the vector of each token; a word's is the mean of its own and its subwords' rows, as in fastText.

        Args:
            tokens: V words or character n-grams as UTF-8; an empty token is not looked up.
            words_V: index of each token in the dictionary, -1 if it is not a known word.
            is_subword_V: True if a token is a character n-gram, with `<` and `>` at the ends of a word.

        Returns:
            The vectors, float32 [V, D], and which tokens were found, bool [V].
        """
        offsets = np.zeros(len(tokens) + 1, np.int64)
        np.cumsum([len(token) for token in tokens], out=offsets[1:])
        text = np.frombuffer(b"".join(tokens), np.uint8)
        num_words, num_rows = len(self.words), len(self.vectors)
        lengths = (self.min_ngram, self.max_ngram)
        indptr, rows_E = _rows_of_tokens(text, offsets, words_V, is_subword_V, *lengths, num_words, num_rows)
        counts = np.diff(indptr)
        weights_E = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
        mean_VI = csr_matrix((weights_E, rows_E, indptr), shape=(len(tokens), num_rows))
        return np.asarray(mean_VI @ self.vectors, np.float32), counts > 0


def _read_dictionary(content: mmap.mmap, position: int) -> tuple[list[bytes], int]:
    """Return the words, and the position at which the dictionary ends."""
    size, num_words, _, _, num_pruned = _DICTIONARY.unpack_from(content, position)
    position += _DICTIONARY.size
    words: list[bytes] = []
    for _ in range(size):
        end = content.find(b"\0", position)
        if end < 0:
            raise ValueError(f"it has {len(words)} of {size} words")
        words.append(content[position:end])
        position = end + 1 + _ENTRY_TAIL.size
    return words[:num_words], position + 8 * max(num_pruned, 0)  # the entries after the words are labels


@njit(cache=True, nogil=True)
def _rows_of_tokens(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    words_V: NDArray[np.int64],
    is_subword_V: NDArray[np.bool_],
    min_ngram: int,
    max_ngram: int,
    num_words: int,
    num_rows: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the input rows that make up each token: where each token's rows begin [V + 1], and the rows [E]."""
    num_tokens = len(offsets) - 1
    indptr = np.zeros(num_tokens + 1, np.int64)
    rows = np.empty(num_tokens + (len(text) + 2 * num_tokens) * max(max_ngram - min_ngram + 1, 0), np.int64)
    size = 0
    for token in range(num_tokens):
        spelt = text[offsets[token] : offsets[token + 1]]
        if is_subword_V[token]:
            if num_rows > num_words and min_ngram <= _count_characters(spelt) <= max_ngram:
                rows[size] = num_words + _hash(spelt) % np.uint32(num_rows - num_words)
                size += 1
        elif len(spelt):
            if words_V[token] >= 0:
                rows[size] = words_V[token]
                size += 1
            if num_rows > num_words:
                size = _add_subwords(spelt, min_ngram, max_ngram, num_words, num_rows, rows, size)
        indptr[token + 1] = size
    return indptr, rows[:size].copy()


@njit(cache=True, nogil=True)
def _add_subwords(
    word: NDArray[np.uint8],
    min_ngram: int,
    max_ngram: int,
    num_words: int,
    num_rows: int,
    rows: NDArray[np.int64],
    size: int,
) -> int:
    """Append the rows of the character n-grams of `<word>`, except a mark alone, and return the new size."""
    bordered = np.empty(len(word) + 2, np.uint8)
    bordered[0], bordered[1:-1], bordered[-1] = _WORD_BEGIN, word, _WORD_END
    for begin in range(len(bordered)):
        if _continues(bordered[begin]):
            continue
        stop = begin
        for length in range(1, max_ngram + 1):
            if stop == len(bordered):
                break
            stop += 1
            while stop < len(bordered) and _continues(bordered[stop]):
                stop += 1
            is_border = length == 1 and (begin == 0 or stop == len(bordered))
            if length >= min_ngram and not is_border:
                rows[size] = num_words + _hash(bordered[begin:stop]) % np.uint32(num_rows - num_words)
                size += 1
    return size


@njit(cache=True, nogil=True)
def _continues(byte: int) -> bool:
    """Return True if a byte of UTF-8 continues a character."""
    return byte & 0xC0 == 0x80


@njit(cache=True, nogil=True)
def _count_characters(text: NDArray[np.uint8]) -> int:
    count = 0
    for byte in text:
        count += not _continues(byte)
    return count


@njit(cache=True, nogil=True)
def _hash(text: NDArray[np.uint8]) -> np.uint32:
    """Compute the FNV-1a hash over signed bytes, as fastText does."""
    h = _FNV_OFFSET
    for byte in text:
        h = np.uint32((h ^ np.uint32(np.int8(byte))) * _FNV_PRIME)
    return h
