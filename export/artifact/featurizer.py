"""Text to a sparse TF-IDF bag of tokens: the only implementation anywhere, used in training and in serving.

A text is folded (NFKC, case), split into words at everything that is no letter, digit or mark, and turned into words,
word n-grams and character n-grams. A token is known by the 64-bit hash of its text, looked up in a memory-mapped table,
so that neither start-up nor memory of a serving process grows by a Python object per token. Weights are TF-IDF,
L2-normalised (x in section 4 of the paper).

Shapes: B queries, T tokens of all queries together, V vocabulary.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.labels import TextTable

FEATURIZER_FILE = "featurizer.json"
VOCABULARY_STEM = "vocabulary"
IDF_FILE = "vocabulary.idf.npy"
TABLE_KEYS_FILE = "vocabulary.keys.npy"
TABLE_VALUES_FILE = "vocabulary.values.npy"

# Marks of a character n-gram's text ("~<ca"): no word contains one, so that the kinds of token can never collide.
_SUBWORD_MARK, _WORD_BEGIN, _WORD_END = ord("~"), ord("<"), ord(">")
_SPACE, _NEWLINE = ord(" "), ord("\n")
_ASCII_FOLD = bytes(ord(chr(c).lower()) if chr(c).isalnum() else _SPACE for c in range(128)) + bytes(128)
_FIT_CHUNK_TEXTS = 20_000


class QueryKindError(ValueError):
    """A text for a model that knows only feature ids, or a bag of ids or weights the model cannot use."""


@dataclass(frozen=True, slots=True)
class Bag:
    """One pre-featurised query: `ids` int32 [T] and `weights` float32 [T]."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


Query = str | Bag


@dataclass(frozen=True, slots=True)
class Bags:
    """Featurised queries, one after the other: query b owns `ids[offsets[b] : offsets[b + 1]]`.

    Shapes: `ids` int32 [T], `weights` float32 [T], `offsets` int64 [B + 1]. The weights of a query have L2 norm 1,
    unless it is empty.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each query, int64 [B]."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Bags:
        """The queries `rows`, in that order."""
        lengths = self.lengths()[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Bags(self.ids[positions], self.weights[positions], offsets)

    def padded(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Ids and weights as rectangles [B, longest]; what is missing has id 0 and weight 0."""
        lengths = self.lengths()
        shape = (len(self), int(lengths.max(initial=0)))
        if shape[0] == 1:
            return self.ids.reshape(shape), self.weights.reshape(shape)
        ids, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        filled = np.arange(shape[1]) < lengths[:, None]
        ids[filled], weights[filled] = self.ids, self.weights
        return ids, weights


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
        table: tuple[NDArray[np.uint64], NDArray[np.int32]] | None = None,
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self.idf = idf_V
        self._keys, self._values = table if table is not None else _build_table(vocabulary)

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
        codes, ends = _encode_texts(texts, self.config.max_chars)
        bags = Bags(*_featurize(codes, ends, self._keys, self._values, self.idf, *_ngram_ranges(self.config)))
        if len(texts) == len(queries):
            return bags
        is_bag = np.array([not isinstance(query, str) for query in queries])
        given = IdFeaturizer(self.num_features).transform([query for query in queries if not isinstance(query, str)])
        return _concatenate(bags, given).take(np.argsort(np.argsort(is_bag, kind="stable"), kind="stable"))

    def check(self, query: Query) -> None:
        """Raises QueryKindError for a bag that cannot be read (see `IdFeaturizer.check`); any text will do."""
        if not isinstance(query, str):
            _check_bag(query, self.num_features)

    def tokens(self, text: str) -> list[str]:
        """Every token of `text`, known or not, in order of appearance, repeats included."""
        codes, ends = _encode_texts([text], self.config.max_chars)
        hashes, begins, stops, kinds, _ = _scan(codes, ends, *_ngram_ranges(self.config))
        return [_token_text(codes, *span) for span in zip(begins, stops, kinds, strict=True)][: len(hashes)]

    def token_ids(self, names: Sequence[str]) -> NDArray[np.int32]:
        """The token that each name is as a whole, a word or a run of words: int32 [names], -1 where there is none."""
        folded = [" ".join(fold(name, self.config.max_chars).split()) for name in names]
        return _look_up(*_encode_texts(folded, self.config.max_chars), self._keys, self._values)

    def vocabulary_sha256(self) -> str:
        """Identity of the vocabulary: a model is meaningless with any other."""
        return self.vocabulary.sha256()

    def save(self, folder: Path) -> None:
        """Write the featurizer's files into `folder`."""
        self.vocabulary.save(folder, VOCABULARY_STEM)
        np.save(folder / IDF_FILE, self.idf)
        np.save(folder / TABLE_KEYS_FILE, self._keys)
        np.save(folder / TABLE_VALUES_FILE, self._values)
        _write_description(folder, self.kind, self.num_features, asdict(self.config), self.vocabulary_sha256())


class IdFeaturizer:
    """Bags of feature ids that a client computed itself: checked and L2-normalised, nothing else."""

    kind: ClassVar[Literal["ids"]] = "ids"

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features

    def transform(self, queries: Sequence[Query]) -> Bags:
        """Normalise B bags.

        Raises:
            QueryKindError: for a query that `check` refuses.
        """
        bags: list[Bag] = []
        for query in queries:
            self.check(query)
            bags.append(cast(Bag, query))
        offsets = np.zeros(len(bags) + 1, np.int64)
        np.cumsum([len(bag.ids) for bag in bags], out=offsets[1:])
        ids = np.concatenate([bag.ids for bag in bags], dtype=np.int32) if bags else np.empty(0, np.int32)
        weights = np.concatenate([_unit(bag.weights) for bag in bags]) if bags else np.empty(0, np.float32)
        return Bags(ids, weights, offsets)

    def check(self, query: Query) -> None:
        """Raises QueryKindError unless `query` is a bag of known ids with a finite weight each."""
        if isinstance(query, str):
            raise QueryKindError(
                'this model was trained on feature ids and knows no words; send {"ids": [...], "weights": [...]}'
            )
        _check_bag(query, self.num_features)

    def vocabulary_sha256(self) -> str:
        """Identity of the feature space; without a vocabulary only its size is known."""
        return sha256(f"ids:{self.num_features}".encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the featurizer's files into `folder`."""
        _write_description(folder, self.kind, self.num_features, {}, self.vocabulary_sha256())


Featurizer = TextFeaturizer | IdFeaturizer


def open_featurizer(folder: Path) -> Featurizer:
    """Map the featurizer saved in `folder`.

    Raises:
        ValueError: where its files do not belong together.
    """
    try:
        description = json.loads((folder / FEATURIZER_FILE).read_text())
        if description["kind"] == IdFeaturizer.kind:
            return IdFeaturizer(int(description["num_features"]))
        config = FeaturizerConfig(**description["config"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{FEATURIZER_FILE} does not describe a featurizer: {error!r}") from error
    vocabulary = TextTable.open(folder, VOCABULARY_STEM)
    idf, keys, values = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False)
        for name in (IDF_FILE, TABLE_KEYS_FILE, TABLE_VALUES_FILE)
    )
    capacity = len(keys)
    if idf.shape != (len(vocabulary),) or values.shape != (capacity,) or capacity & (capacity - 1) or capacity < 2:
        raise ValueError(
            f"{FEATURIZER_FILE}: {len(vocabulary)} tokens do not fit idf {idf.shape}, keys {keys.shape} and "
            f"values {values.shape}"
        )
    if len(values) and int(values.max()) >= len(vocabulary):
        raise ValueError(f"{TABLE_VALUES_FILE}: token {int(values.max())} of {len(vocabulary)}")
    return TextFeaturizer(config, vocabulary, idf, (keys, values))


def fold(text: str, max_chars: int) -> str:
    """The text with one case and one space in place of every separator, at most `max_chars` long."""
    if text.isascii():
        return text[:max_chars].encode().translate(_ASCII_FOLD).decode()
    # Twice: NFKC can bring upper case and separators into being, case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[:max_chars]).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)[:max_chars]


def _write_description(folder: Path, kind: str, num_features: int, config: dict[str, int], vocabulary: str) -> None:
    description = {"kind": kind, "num_features": num_features, "config": config, "vocabulary_sha256": vocabulary}
    (folder / FEATURIZER_FILE).write_text(json.dumps(description, indent=2) + "\n")


def _check_bag(bag: Bag, num_features: int) -> None:
    if len(bag.ids) != len(bag.weights):
        raise QueryKindError(f"there are {len(bag.ids)} ids and {len(bag.weights)} weights; give one weight per id")
    if not np.isfinite(bag.weights).all():
        raise QueryKindError("a weight is not finite as a 32-bit float; scale the weights down")
    if len(bag.ids) and not 0 <= int(bag.ids.min()) <= int(bag.ids.max()) < num_features:
        raise QueryKindError(f"feature ids must lie between 0 and {num_features - 1}")


def _concatenate(first: Bags, second: Bags) -> Bags:
    return Bags(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.weights, second.weights]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
    )


def _inverse_document_frequency(df_V: NDArray[np.int64], num_texts: int) -> NDArray[np.float32]:
    return (np.log((1 + num_texts) / (1 + df_V)) + 1).astype(np.float32)


def _unit(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = float(np.linalg.norm(weights.astype(np.float64)))  # squares of float32 overflow
    return (weights / norm).astype(np.float32) if norm > 0 else weights


def _ngram_ranges(config: FeaturizerConfig) -> tuple[int, int, int]:
    return config.word_ngrams, config.min_char_ngram, config.max_char_ngram


def _encode_texts(texts: Sequence[str], max_chars: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Code points of all folded texts, uint32 [C], and where each text ends, int64 [B]."""
    folded = [fold(text, max_chars) for text in texts]
    ends = np.fromiter((len(text) + 1 for text in folded), np.int64, len(folded)).cumsum()
    # Every text is closed by a newline, which is no word: the kernels need no special case for a last word.
    return np.frombuffer(("\n".join(folded) + "\n").encode("utf-32-le", "surrogatepass"), np.uint32), ends


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
        codes, ends = _encode_texts(chunk, config.max_chars)
        hashes, begins, stops, kinds, rows = _scan(codes, ends, *_ngram_ranges(config))
        keys, first = np.unique(hashes, return_index=True)
        for position in first[~np.isin(keys, counts.keys, assume_unique=True)].tolist():
            names[int(hashes[position])] = _token_text(codes, begins[position], stops[position], kinds[position])
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


def _token_text(codes: NDArray[np.uint32], begin: int, stop: int, kind: int) -> str:
    """The text of the token at `codes[begin:stop]`.

    Kind 0 is a run of words; of a character n-gram, bit 1 is set, bit 2 at the word's begin and bit 4 at its end.
    """
    text = " ".join(codes[begin:stop].tobytes().decode("utf-32-le", "surrogatepass").split())
    if not kind:
        return text
    return "~" + ("<" if kind & 2 else "") + text + (">" if kind & 4 else "")


def _build_table(vocabulary: TextTable) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Open-addressing hash table over the vocabulary: keys uint64 [C] and values int32 [C], -1 where free.

    C is a power of two, at least 2V.
    """
    capacity = 2
    while capacity < 2 * len(vocabulary):
        capacity *= 2
    codes = [np.frombuffer(token.encode("utf-32-le", "surrogatepass"), np.uint32) for token in vocabulary]
    hashes = np.fromiter((_hash_codes(token) for token in codes), np.uint64, len(codes))
    keys, values = np.zeros(capacity, np.uint64), np.full(capacity, -1, np.int32)
    _fill_table(hashes, keys, values)
    return keys, values


# Hashes are FNV-1a over code points with a final mix, because FNV's low bits alone make a poor table index.

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(32)


@njit(inline="always")
def _step(h: np.uint64, code: np.uint64) -> np.uint64:
    return (h ^ code) * _FNV_PRIME


@njit(inline="always")
def _finish(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> _SHIFT)) * _MIX
    return h ^ (h >> _SHIFT)


@njit(cache=True)
def _hash_codes(codes: NDArray[np.uint32]) -> np.uint64:
    h = _FNV_OFFSET
    for code in codes:
        h = _step(h, np.uint64(code))
    return _finish(h)


@njit(cache=True)
def _fill_table(hashes: NDArray[np.uint64], keys: NDArray[np.uint64], values: NDArray[np.int32]) -> None:
    mask = np.uint64(len(keys) - 1)
    for token in range(len(hashes)):
        slot = hashes[token] & mask
        while values[slot] >= 0 and keys[slot] != hashes[token]:
            slot = (slot + np.uint64(1)) & mask
        if values[slot] < 0:  # a name given twice keeps its first id
            keys[slot], values[slot] = hashes[token], token


@njit(cache=True, inline="always")
def _find(h: np.uint64, keys: NDArray[np.uint64], values: NDArray[np.int32]) -> int:
    mask = np.uint64(len(keys) - 1)
    slot = h & mask
    while values[slot] >= 0:
        if keys[slot] == h:
            return int(values[slot])
        slot = (slot + np.uint64(1)) & mask
    return -1


@njit(cache=True, nogil=True)
def _look_up(
    codes: NDArray[np.uint32], ends: NDArray[np.int64], keys: NDArray[np.uint64], values: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Token of each whole text, -1 where there is none."""
    tokens = np.full(len(ends), -1, np.int32)
    begin = 0
    for row in range(len(ends)):
        stop = ends[row] - 1  # without its newline
        if stop > begin:
            tokens[row] = _find(_hash_codes(codes[begin:stop]), keys, values)
        begin = ends[row]
    return tokens


@njit(cache=True)
def _scan_text(
    codes: NDArray[np.uint32],
    begin: int,
    end: int,
    word_ngrams: int,
    min_char_ngram: int,
    max_char_ngram: int,
    hashes: NDArray[np.uint64],
    spans: NDArray[np.int32],
    num_tokens: int,
) -> int:
    """Append the tokens of one text from position `num_tokens` on; returns the new number of tokens.

    `spans` int32 [T, 3] holds begin, stop and kind (see `_token_text`) of each token.
    """
    word_begins = np.empty(word_ngrams, np.int64)  # of the last words, a ring
    word_stops = np.empty(word_ngrams, np.int64)
    num_words = 0
    position = begin
    while position < end:
        if codes[position] == _SPACE or codes[position] == _NEWLINE:
            position += 1
            continue
        stop = position
        while codes[stop] != _SPACE and codes[stop] != _NEWLINE:
            stop += 1
        word_begins[num_words % word_ngrams], word_stops[num_words % word_ngrams] = position, stop
        num_words += 1
        for first in range(num_words - 1, max(num_words - word_ngrams, 0) - 1, -1):
            h = _FNV_OFFSET
            for word in range(first, num_words):
                if word > first:
                    h = _step(h, np.uint64(_SPACE))
                for i in range(word_begins[word % word_ngrams], word_stops[word % word_ngrams]):
                    h = _step(h, np.uint64(codes[i]))
            hashes[num_tokens] = _finish(h)
            spans[num_tokens] = word_begins[first % word_ngrams], stop, 0
            num_tokens += 1
        if max_char_ngram:
            num_tokens = _scan_word(codes, position, stop, min_char_ngram, max_char_ngram, hashes, spans, num_tokens)
        position = stop
    return num_tokens


@njit(cache=True)
def _scan_word(
    codes: NDArray[np.uint32],
    begin: int,
    stop: int,
    min_char_ngram: int,
    max_char_ngram: int,
    hashes: NDArray[np.uint64],
    spans: NDArray[np.int32],
    num_tokens: int,
) -> int:
    """Append the character n-grams of the word `codes[begin:stop]` between its borders `<` and `>`."""
    for first in range(begin - 1, stop + 1):
        h = _step(_FNV_OFFSET, np.uint64(_SUBWORD_MARK))
        for i in range(first, min(first + max_char_ngram, stop + 1)):
            if i < begin:
                h = _step(h, np.uint64(_WORD_BEGIN))
            elif i == stop:
                h = _step(h, np.uint64(_WORD_END))
            else:
                h = _step(h, np.uint64(codes[i]))
            if i - first + 1 >= min_char_ngram:
                hashes[num_tokens] = _finish(h)
                kind = 1 + (2 if first < begin else 0) + (4 if i == stop else 0)
                spans[num_tokens] = max(first, begin), min(i + 1, stop), kind
                num_tokens += 1
    return num_tokens


@njit(cache=True, inline="always")
def _max_tokens(num_codes: int, word_ngrams: int, min_char_ngram: int, max_char_ngram: int) -> int:
    """A bound on the tokens of a text: each code may begin a word, and a word of n codes has n + 2 with its borders."""
    per_code = word_ngrams + (3 * (max_char_ngram - min_char_ngram + 1) if max_char_ngram else 0)
    return num_codes * per_code


@njit(cache=True)
def _scan(
    codes: NDArray[np.uint32], ends: NDArray[np.int64], word_ngrams: int, min_char_ngram: int, max_char_ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Every token of B texts: hash, begin, stop, kind and text, each [T]."""
    bound = _max_tokens(len(codes), word_ngrams, min_char_ngram, max_char_ngram)
    hashes, spans, rows = np.empty(bound, np.uint64), np.empty((bound, 3), np.int32), np.empty(bound, np.int64)
    begin, num_tokens = 0, 0
    for row in range(len(ends)):
        before = num_tokens
        num_tokens = _scan_text(
            codes, begin, ends[row], word_ngrams, min_char_ngram, max_char_ngram, hashes, spans, num_tokens
        )
        rows[before:num_tokens] = row
        begin = ends[row]
    kept = spans[:num_tokens]
    return hashes[:num_tokens], kept[:, 0].copy(), kept[:, 1].copy(), kept[:, 2].copy(), rows[:num_tokens]


@njit(cache=True, nogil=True)
def _featurize(
    codes: NDArray[np.uint32],
    ends: NDArray[np.int64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int32],
    idf: NDArray[np.float32],
    word_ngrams: int,
    min_char_ngram: int,
    max_char_ngram: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """TF-IDF bags of B texts: token ids [T] ascending within a text, weights [T], offsets [B + 1]."""
    bound = _max_tokens(len(codes), word_ngrams, min_char_ngram, max_char_ngram)
    hashes, spans = np.empty(bound, np.uint64), np.empty((bound, 3), np.int32)
    ids, weights = np.empty(bound, np.int32), np.empty(bound, np.float32)
    offsets = np.zeros(len(ends) + 1, np.int64)
    begin, size = 0, 0
    for row in range(len(ends)):
        num_tokens = _scan_text(codes, begin, ends[row], word_ngrams, min_char_ngram, max_char_ngram, hashes, spans, 0)
        begin = ends[row]
        known = size
        for token in range(num_tokens):
            token_id = _find(hashes[token], keys, values)
            if token_id >= 0:
                ids[known] = token_id
                known += 1
        ids[size:known].sort()
        size = _weigh(ids, weights, size, known, idf)
        offsets[row + 1] = size
    return ids[:size].copy(), weights[:size].copy(), offsets


@njit(cache=True)
def _weigh(ids: NDArray[np.int32], weights: NDArray[np.float32], begin: int, end: int, idf: NDArray[np.float32]) -> int:
    """Fold the repeats in the sorted `ids[begin:end]` into (1 + ln tf) * idf, L2-normalised; returns the new end."""
    size = begin
    squares = 0.0
    position = begin
    while position < end:
        token = ids[position]
        count = 0
        while position < end and ids[position] == token:
            count += 1
            position += 1
        weight = (1.0 + np.log(count)) * idf[token]
        ids[size], weights[size] = token, weight
        squares += weight * weight
        size += 1
    scale = 1.0 / np.sqrt(squares) if squares > 0.0 else 0.0
    for i in range(begin, size):
        weights[i] *= scale
    return size
