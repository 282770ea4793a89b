"""Text to a sparse TF-IDF bag of tokens: the only implementation, used in training and in serving.

A text is folded (case, accents, width), split into words, and turned into words, word n-grams and character n-grams
(docs/texts.md). A token is identified by the 64-bit hash of its text, which is looked up in a
memory-mapped table, so that neither start-up nor memory of a serving process grows by a Python object for each token.
Weights are TF-IDF, L2-normalised (x in section 4 of the paper).

Shapes: B queries, T tokens of all queries together, V vocabulary, S slots of the token table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.storage.array_file import map_array
from astec.export.artifact.text.bags import Bags, Query, check_bag, concatenate
from astec.export.artifact.text.description import FEATURIZER_FILE, read_description, write_description
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold, fold_and_encode, seen_word_spans, seen_words
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.segmentation import Span
from astec.export.artifact.text.tfidf import featurize, inverse_document_frequency
from astec.export.artifact.text.token_counts import TokenCounts, count_tokens
from astec.export.artifact.text.token_table import build_table, check_table, find_all, hash_texts, look_up
from astec.export.artifact.text.tokens import Codes, Ngrams, encode_texts, scan, token_texts

VOCABULARY_STEM = "vocabulary"
IDF_FILE = "vocabulary.idf.npy"
TABLE_FILE = "vocabulary.table.npy"


class TextFeaturizer:
    """Turns texts into bags of tokens, over a fixed vocabulary. Thread-safe.

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
            table_S = build_table(hash_texts(encode_texts(vocabulary), len(vocabulary)))
        self._table = table_S

    @property
    def num_features(self) -> int:
        """The number of tokens, V."""
        return len(self.vocabulary)

    @classmethod
    def fit(cls, texts: Iterable[str], config: FeaturizerConfig) -> TextFeaturizer:
        """Learn vocabulary and document frequencies.

        Raises:
            ValueError: no token reaches `min_df`.
        """
        return cls.from_counts(count_tokens(texts, config), config)

    @classmethod
    def from_counts(cls, counts: TokenCounts, config: FeaturizerConfig) -> TextFeaturizer:
        """Make a featurizer of the tokens that reach `min_df`, ordered by falling frequency, then text.

        Args:
            counts: of the training texts, by `count_tokens` with the same n-grams.
            config: its settings.

        Raises:
            ValueError: no token reaches `min_df`.
        """
        kept = np.flatnonzero(counts.df >= config.min_df)
        if not len(kept):
            raise ValueError(
                f"no token occurs in min_df = {config.min_df} of the {counts.num_texts} training texts; lower min_df "
                "or bring more text"
            )
        blob, bounds = counts.names.blob.tobytes(), counts.names.offsets.tolist()
        texts = [blob[bounds[token] : bounds[token + 1]] for token in kept.tolist()]
        if len(set(texts)) != len(texts):
            raise AssertionError("two tokens of one text have different hashes")
        # The order of texts in UTF-8 is that of their code points. By frequency then, which leaves equal ones in order.
        kept = kept[sorted(range(len(texts)), key=texts.__getitem__)]
        kept = kept[np.argsort(-counts.df[kept], kind="stable")[: config.max_features]]
        idf_V = inverse_document_frequency(counts.df[kept], counts.num_texts)
        return cls(config, counts.names.take(kept), idf_V, build_table(counts.keys[kept]))

    def with_words(self, words: Iterable[str], num_texts: int) -> TextFeaturizer:
        """Return the featurizer with further words, whose IDF is that of tokens that none of the texts has.

        A text of several words, or of none, is passed over, as is a word that is known already.

        Args:
            words: as they are written in texts.
            num_texts: the number of training texts.
        """
        words = list(self.single_words(words))
        if not words:
            return self
        known = set(self.vocabulary)
        added = dict.fromkeys(word for word in words if word not in known)
        vocabulary = TextTable.from_texts(chain(self.vocabulary, added))
        idf_V = np.append(self.idf, inverse_document_frequency(np.zeros(len(added), np.int64), num_texts))
        return TextFeaturizer(self.config, vocabulary, idf_V)

    @classmethod
    def from_names(cls, names: Sequence[str], df_V: NDArray[np.int64], num_texts: int) -> TextFeaturizer:
        """Make a featurizer for pre-featurised data with a name for each feature (`Xf.txt`): single words, no subwords.

        The IDF is computed from `df_V` int64 [V], the document frequencies in the training matrix. A name of several
        words keeps its id but is never found in a text.
        """
        # The names were made by another tokeniser. Most keep letters and digits only, as rules 1 do.
        config = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1, rules=1)
        vocabulary = TextTable.from_texts(fold(name, config).strip() for name in names)
        return cls(config, vocabulary, inverse_document_frequency(df_V, num_texts))

    def transform(self, queries: Sequence[Query]) -> Bags:
        """Featurise B queries; queries that are bags already are only checked and normalised.

        Raises:
            QueryKindError: `check` refuses a bag.
        """
        texts = [query for query in queries if isinstance(query, str)]
        bags = Bags(*featurize(self.encode(texts), len(texts), *self.arguments()))
        if len(texts) == len(queries):
            return bags
        is_bag = np.array([not isinstance(query, str) for query in queries])
        given = IdFeaturizer(self.num_features).transform([query for query in queries if not isinstance(query, str)])
        return concatenate(bags, given).take(np.argsort(np.argsort(is_bag, kind="stable"), kind="stable"))

    def encode(self, texts: Sequence[str]) -> Codes:
        """Fold the texts and return their code points, as the kernels read them."""
        return fold_and_encode(texts, self.config)

    def seen(self, text: str) -> str:
        """Return the words of a text, with a space between each two: all that the model sees of it."""
        return seen_words(text, self.config)

    def single_words(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield each text that is one word, as the model sees it, and pass over those of several words or of none."""
        return (word for word in map(self.seen, texts) if word and " " not in word)

    def arguments(self) -> tuple[NDArray[np.uint64], NDArray[np.float32], Ngrams]:
        """Return the arguments that `featurize` takes of the vocabulary: table, IDF and lengths of n-grams."""
        return self._table, self.idf, self.config.ngrams

    def check(self, query: Query) -> None:
        """Raise QueryKindError for a bag with unknown ids or weights that are not finite; any text is valid."""
        if not isinstance(query, str):
            check_bag(query, self.num_features)

    def tokens(self, text: str) -> list[str]:
        """Return every token of `text`, known or not, in order of appearance, repeats included."""
        codes = self.encode([text])
        _, spans, _ = scan(codes, 1, self.config.ngrams)
        return list(TextTable(*token_texts(codes, spans)))

    def token_ids(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Look up each name, a word or a run of words, as one token: int32 [names], -1 where there is none."""
        folded = [self.seen(name) for name in names]
        return look_up(encode_texts(folded), len(folded), self._table)

    def words(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the token of each word of B texts in order, int32 [words] (-1: unknown), and its text, int64."""
        codes = self.encode(texts)
        hashes, _, rows = scan(codes, len(texts), (1, 0, 0, 0))
        return find_all(hashes, self._table), rows

    def word_spans(self, text: str) -> list[Span]:
        """Return where each word of a text is in it: begin and end, in characters; several words may have the same."""
        return seen_word_spans(text, self.config)

    def token_words(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return each token of a text in order, int32 [T] (-1: unknown), and its first and last word, int64 [T, 2]."""
        codes = self.encode([text])
        hashes, spans, _ = scan(codes, 1, self.config.ngrams)
        begins = scan(codes, 1, (1, 0, 0, 0))[1][:, 0]
        first_T = np.searchsorted(begins, spans[:, 0], "right") - 1
        last_T = np.searchsorted(begins, spans[:, 1] - 1, "right") - 1
        return find_all(hashes, self._table), np.stack([first_T, np.maximum(first_T, last_T)], axis=1)

    def vocabulary_sha256(self) -> str:
        """Return the SHA-256 of the vocabulary: a model gives meaningless answers with any other."""
        return self.vocabulary.sha256()

    def save(self, folder: Path) -> None:
        """Write the featurizer's files into `folder`."""
        self.vocabulary.save(folder, VOCABULARY_STEM)
        np.save(folder / IDF_FILE, self.idf)
        np.save(folder / TABLE_FILE, self._table)
        write_description(folder, self.kind, self.num_features, asdict(self.config), self.vocabulary_sha256())


Featurizer = TextFeaturizer | IdFeaturizer


def open_featurizer(folder: Path) -> Featurizer:
    """Open the featurizer saved in `folder`; its arrays are memory-mapped.

    Raises:
        ValueError: the files are damaged or do not belong together.
    """
    try:
        description = read_description(folder / FEATURIZER_FILE)
        if description["kind"] == IdFeaturizer.kind:
            return IdFeaturizer(description["num_features"])
        # Artifacts that were written before there were other rules name none.
        config = FeaturizerConfig(**{"rules": 1, **description["config"]})
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
