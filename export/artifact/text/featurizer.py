"""Text to a sparse TF-IDF bag of tokens: the only implementation anywhere, used in training and in serving.

A text is folded (NFKC, case), split into words at everything that is no letter, digit or mark, and turned into words,
word n-grams and character n-grams. A token is known by the 64-bit hash of its text, looked up in a memory-mapped table,
so that neither start-up nor memory of a serving process grows by a Python object per token. Weights are TF-IDF,
L2-normalised (x in section 4 of the paper).

Shapes: B queries, T tokens of all queries together, V vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.hashing import first_slot
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.storage.array_file import map_array
from astec.export.artifact.text.bags import Bags, Query, check_bag, concatenate
from astec.export.artifact.text.description import FEATURIZER_FILE, read_description, write_description
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.token_table import build_table, check_table, find
from astec.export.artifact.text.tokens import (
    Codes,
    encode_texts,
    hash_text,
    longest_text,
    max_tokens,
    scan,
    scan_text,
    token_text,
)

VOCABULARY_STEM = "vocabulary"
IDF_FILE = "vocabulary.idf.npy"
TABLE_FILE = "vocabulary.table.npy"

_ASCII_FOLD = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(128)) + bytes(128)
_FIT_CHUNK_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class FeaturizerConfig:
    """What becomes a token. Changes answers, hence fixed at training and stored with the model.

    Attributes:
        word_ngrams: longest run of words that is a token; 1: single words only.
        min_char_ngram, max_char_ngram: lengths of the character n-grams inside a word and its borders; 0 and 0: none.
        min_df: a token must occur in at least so many training texts.
        max_features: keep the most frequent so many tokens.
        max_chars: characters of a text that are looked at.
    """

    word_ngrams: int = 2
    min_char_ngram: int = 3
    max_char_ngram: int = 4
    min_df: int = 2
    max_features: int = 2_000_000
    max_chars: int = 512

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int:
                raise ValueError(f"{name} is {value!r}; it must be a whole number")
        if not 1 <= self.word_ngrams <= 4:
            raise ValueError(f"word_ngrams is {self.word_ngrams}; it must lie between 1 and 4")
        if not 0 <= self.min_char_ngram <= self.max_char_ngram <= 8:
            raise ValueError(
                f"min_char_ngram is {self.min_char_ngram} and max_char_ngram {self.max_char_ngram}; "
                "they must satisfy 0 <= min <= max <= 8 (0 and 0 switch character n-grams off)"
            )
        for name in ("min_df", "max_features", "max_chars"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def ngrams(self) -> tuple[int, int, int]:
        """As the kernels take them: `word_ngrams`, `min_char_ngram` and `max_char_ngram`."""
        return self.word_ngrams, self.min_char_ngram, self.max_char_ngram


class TextFeaturizer:
    """Bags of tokens from texts, over a fixed vocabulary.

    Attributes:
        vocabulary: the text of each token, [V]; character n-grams are written `~<ca`.
        idf: inverse document frequency of each token, float32 [V].
    """

    kind: ClassVar[Literal["text"]] = "text"

    def __init__(
        self,
        config: FeaturizerConfig,
        vocabulary: TextTable,
        idf_V: NDArray[np.float32],
        table_S: NDArray[np.uint64] | None = None,
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self.idf = idf_V
        if table_S is None:
            table_S = build_table(_hash_texts(encode_texts(vocabulary), len(vocabulary)))
        self._table = table_S

    @property
    def num_features(self) -> int:
        """V."""
        return len(self.vocabulary)

    @classmethod
    def fit(cls, texts: Iterable[str], config: FeaturizerConfig) -> TextFeaturizer:
        """Learn vocabulary and document frequencies; tokens are ordered by falling frequency, then text.

        Raises:
            ValueError: when no token reaches `min_df`.
        """
        counts, names, num_texts = _count_tokens(texts, config)
        kept = np.flatnonzero(counts.df >= config.min_df)
        if not len(kept):
            raise ValueError(
                f"no token occurs in min_df = {config.min_df} of the {num_texts} training texts; lower min_df or bring "
                "more text"
            )
        tokens = [names[key] for key in counts.keys[kept].tolist()]
        order = sorted(range(len(kept)), key=lambda i: (-int(counts.df[kept[i]]), tokens[i]))[: config.max_features]
        vocabulary = TextTable.from_texts(tokens[i] for i in order)
        return cls(config, vocabulary, _inverse_document_frequency(counts.df[kept[order]], num_texts))

    @classmethod
    def from_names(cls, names: Sequence[str], df_V: NDArray[np.int64], num_texts: int) -> TextFeaturizer:
        """A featurizer for data that came pre-featurised with a name per feature (`Xf.txt`): single words, no subwords.

        The IDF is computed from `df_V`, the document frequencies in the training matrix. A name of several words keeps
        its id but is never found in a text.
        """
        config = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
        vocabulary = TextTable.from_texts(fold(name, config.max_chars).strip() for name in names)
        return cls(config, vocabulary, _inverse_document_frequency(df_V, num_texts))

    def transform(self, queries: Sequence[Query]) -> Bags:
        """Featurise B texts; bags among them are checked and normalised only.

        Raises:
            QueryKindError: for a bag that `check` refuses.
        """
        texts = [query for query in queries if isinstance(query, str)]
        bags = Bags(*featurize(self.encode(texts), len(texts), *self.arguments()))
        if len(texts) == len(queries):
            return bags
        is_bag = np.array([not isinstance(query, str) for query in queries])
        given = IdFeaturizer(self.num_features).transform([query for query in queries if not isinstance(query, str)])
        return concatenate(bags, given).take(np.argsort(np.argsort(is_bag, kind="stable"), kind="stable"))

    def encode(self, texts: Sequence[str]) -> Codes:
        """The texts folded, as the kernels read them."""
        return _fold_and_encode(texts, self.config.max_chars)

    def arguments(self) -> tuple[NDArray[np.uint64], NDArray[np.float32], int, int, int]:
        """As `featurize` takes them."""
        return self._table, self.idf, *self.config.ngrams

    def check(self, query: Query) -> None:
        """Raises QueryKindError for a bag that cannot be read (see `IdFeaturizer.check`); any text will do."""
        if not isinstance(query, str):
            check_bag(query, self.num_features)

    def tokens(self, text: str) -> list[str]:
        """Every token of `text`, known or not, in order of appearance, repeats included."""
        codes = self.encode([text])
        _, spans, _ = scan(codes, 1, *self.config.ngrams)
        return [token_text(codes, *span) for span in spans.tolist()]

    def token_ids(self, names: Sequence[str]) -> NDArray[np.int32]:
        """The token that each name is as a whole, a word or a run of words: int32 [names], -1 where there is none."""
        folded = [" ".join(fold(name, self.config.max_chars).split()) for name in names]
        return _look_up(self.encode(folded), len(folded), self._table)

    def words(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The token that each word of B texts is, in their order, int32 [words], -1 where it is none; and its text."""
        codes = self.encode(texts)
        hashes, _, rows = scan(codes, len(texts), 1, 0, 0)
        return _find_all(hashes, self._table), rows

    def vocabulary_sha256(self) -> str:
        """Identity of the vocabulary: a model is meaningless with any other."""
        return self.vocabulary.sha256()

    def save(self, folder: Path) -> None:
        """Write the featurizer's files into `folder`."""
        self.vocabulary.save(folder, VOCABULARY_STEM)
        np.save(folder / IDF_FILE, self.idf)
        np.save(folder / TABLE_FILE, self._table)
        write_description(folder, self.kind, self.num_features, asdict(self.config), self.vocabulary_sha256())


Featurizer = TextFeaturizer | IdFeaturizer


def open_featurizer(folder: Path) -> Featurizer:
    """Map the featurizer saved in `folder`.

    Raises:
        ValueError: where its files do not belong together.
    """
    try:
        description = read_description(folder / FEATURIZER_FILE)
        if description["kind"] == IdFeaturizer.kind:
            return IdFeaturizer(description["num_features"])
        config = FeaturizerConfig(**description["config"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{FEATURIZER_FILE} does not describe a featurizer: {error!r}") from error
    vocabulary = TextTable.open(folder, VOCABULARY_STEM)
    idf, table_S = map_array(folder / IDF_FILE), map_array(folder / TABLE_FILE)
    if idf.dtype != np.float32 or idf.shape != (len(vocabulary),):
        raise ValueError(f"{IDF_FILE} is {idf.dtype} {idf.shape}, not float32 ({len(vocabulary)},)")
    if not np.isfinite(idf).all():
        raise ValueError(f"{IDF_FILE} holds NaN or infinity")
    try:
        check_table(table_S, len(vocabulary))
    except ValueError as error:
        raise ValueError(f"{TABLE_FILE}: {error}") from error
    return TextFeaturizer(config, vocabulary, idf, table_S)


def fold(text: str, max_chars: int) -> str:
    """The text with one case and one space in place of every separator, at most `max_chars` long."""
    if text.isascii():
        return text[:max_chars].encode().translate(_ASCII_FOLD).decode()
    # Twice: NFKC can bring upper case and separators into being, case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[:max_chars]).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)[:max_chars]


def _inverse_document_frequency(df_V: NDArray[np.int64], num_texts: int) -> NDArray[np.float32]:
    return (np.log((1 + num_texts) / (1 + df_V)) + 1).astype(np.float32)


def _fold_and_encode(texts: Iterable[str], max_chars: int) -> Codes:
    return encode_texts([fold(text, max_chars) for text in texts])


@dataclass(frozen=True, slots=True)
class _TokenCounts:
    keys: NDArray[np.uint64]  # hash of each distinct token, ascending
    df: NDArray[np.int64]  # texts it occurs in


def _count_tokens(texts: Iterable[str], config: FeaturizerConfig) -> tuple[_TokenCounts, dict[int, str], int]:
    """Document frequency and text of every token, and the number of texts."""
    counts = _TokenCounts(np.empty(0, np.uint64), np.empty(0, np.int64))
    names: dict[int, str] = {}
    num_texts = 0
    for chunk in _chunks(texts, _FIT_CHUNK_TEXTS):
        num_texts += len(chunk)
        codes = _fold_and_encode(chunk, config.max_chars)
        hashes, spans, rows = scan(codes, len(chunk), *config.ngrams)
        keys, first = np.unique(hashes, return_index=True)
        for position in first[~np.isin(keys, counts.keys, assume_unique=True)].tolist():
            names[int(hashes[position])] = token_text(codes, *spans[position].tolist())
        counts = _merge_counts(counts, keys, _document_frequency(hashes, rows, keys))
    if len(set(names.values())) != len(names):
        raise AssertionError("two tokens of one text have different hashes")
    return counts, names, num_texts


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _document_frequency(
    hashes: NDArray[np.uint64], rows: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    token = np.searchsorted(keys, hashes)
    pairs = np.unique(token.astype(np.int64) * (int(rows.max(initial=0)) + 1) + rows)
    return np.bincount(pairs // (int(rows.max(initial=0)) + 1), minlength=len(keys))


def _merge_counts(counts: _TokenCounts, keys: NDArray[np.uint64], df: NDArray[np.int64]) -> _TokenCounts:
    merged, inverse = np.unique(np.concatenate([counts.keys, keys]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, inverse, np.concatenate([counts.df, df]))
    return _TokenCounts(merged, total)


@njit(cache=True)
def _hash_texts(codes: Codes, num_texts: int) -> NDArray[np.uint64]:
    """The hash of each whole text, [B]."""
    hashes, position = np.empty(num_texts, np.uint64), 0
    for row in range(num_texts):
        position, hashes[row] = hash_text(codes, position)
    return hashes


@njit(cache=True)
def _look_up(codes: Codes, num_texts: int, table_S: NDArray[np.uint64]) -> NDArray[np.int32]:
    """The token that each text is as a whole, [B], -1 where there is none."""
    tokens, position = np.empty(num_texts, np.int32), 0
    for row in range(num_texts):
        position, h = hash_text(codes, position)
        tokens[row] = find(h, table_S)
    return tokens


@njit(cache=True, nogil=True)
def _find_all(hashes_T: NDArray[np.uint64], table_S: NDArray[np.uint64]) -> NDArray[np.int32]:
    """The token of each hash, -1 where there is none."""
    tokens_T = np.empty(len(hashes_T), np.int32)
    for i in range(len(hashes_T)):
        tokens_T[i] = find(hashes_T[i], table_S)
    return tokens_T


@njit(cache=True, nogil=True)
def featurize(
    codes: Codes,
    num_texts: int,
    table_S: NDArray[np.uint64],
    idf_V: NDArray[np.float32],
    word_ngrams: int,
    min_char_ngram: int,
    max_char_ngram: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """TF-IDF bags of B texts: token ids [T] in order of appearance, weights [T], offsets [B + 1]."""
    largest = max_tokens(longest_text(codes), word_ngrams, min_char_ngram, max_char_ngram)
    bound = max_tokens(len(codes), word_ngrams, min_char_ngram, max_char_ngram)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from token to its position in the output; what lies before the text at hand is a free slot, so that
    # the table need not be cleared between texts.
    positions = np.full(capacity, -1, np.int64)
    hashes, ids, weights = np.empty(largest, np.uint64), np.empty(bound, np.int32), np.empty(bound, np.float32)
    offsets = np.zeros(num_texts + 1, np.int64)
    position, size = 0, 0
    for row in range(num_texts):
        position, num_tokens = scan_text(codes, position, word_ngrams, min_char_ngram, max_char_ngram, hashes, 0, None)
        size = _count_known(hashes[:num_tokens], table_S, positions, ids, weights, size)
        _weigh(ids[offsets[row] : size], weights[offsets[row] : size], idf_V)
        offsets[row + 1] = size
    return ids[:size].copy(), weights[:size].copy(), offsets


@njit(cache=True, nogil=True)
def _count_known(
    hashes: NDArray[np.uint64],
    table_S: NDArray[np.uint64],
    positions: NDArray[np.int64],
    ids: NDArray[np.int32],
    counts: NDArray[np.float32],
    begin: int,
) -> int:
    """Append a text's distinct known tokens and how often each occurs, from `begin` on; returns the new size."""
    size, mask = begin, len(positions) - 1
    for h in hashes:
        token = int(find(h, table_S))
        if token < 0:
            continue
        slot = first_slot(token, mask)
        while positions[slot] >= begin and ids[positions[slot]] != token:
            slot = (slot + 1) & mask
        if positions[slot] < begin:
            positions[slot], ids[size], counts[size] = size, token, 0
            size += 1
        counts[positions[slot]] += 1
    return size


@njit(cache=True, nogil=True)
def _weigh(ids: NDArray[np.int32], weights: NDArray[np.float32], idf_V: NDArray[np.float32]) -> None:
    """Make counts the weights (1 + ln tf) * idf, L2-normalised."""
    squares = 0.0
    for i in range(len(ids)):
        weight = np.float64(idf_V[ids[i]])
        if weights[i] > 1:  # of most tokens the logarithm is 0
            weight *= 1.0 + np.log(np.float64(weights[i]))
        weights[i] = weight
        squares += weight * weight
    scale = 1.0 / np.sqrt(squares) if squares > 0.0 else 0.0
    for i in range(len(ids)):
        weights[i] *= scale
