"""Rows of text and labels to the arrays that training works on.

Shapes: N texts, L labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import EncoderDescription
from astec.export.artifact.text.bags import Bags, Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.sequence_reader import SequenceReader, open_reader
from astec.export.artifact.text.words import Sequences
from astec.export.readers import DataError, Dataset
from astec.trainer.settings.config import ConfigError, FeaturizerSection, TrainerConfig
from astec.trainer.settings.section import EncoderSection


@dataclass(frozen=True, slots=True)
class Texts:
    """Featurised texts: their bags and, where the encoder reads such, their words in order."""

    bags: Bags
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.bags)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The texts `rows`, in that order."""
        return Texts(self.bags.take(rows), None if self.sequences is None else self.sequences.take(rows))


@dataclass(frozen=True, slots=True)
class Examples:
    """Featurised texts, and their labels: sparse [N, L] with sorted indices."""

    bags: Bags
    labels: csr_matrix
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.bags)

    @property
    def texts(self) -> Texts:
        """Without the labels."""
        return Texts(self.bags, self.sequences)

    def label_counts(self) -> NDArray[np.int64]:
        """Texts of each label, int64 [L]."""
        return np.bincount(self.labels.indices, minlength=self.labels.shape[1])

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The examples `rows`, in that order."""
        texts = self.texts.take(rows)
        return Examples(texts.bags, self.labels[rows], texts.sequences)

    def features(self, num_features: int) -> csr_matrix:
        """The bags as a sparse matrix [N, V]."""
        shape = (len(self.bags), num_features)
        return csr_matrix((self.bags.weights, self.bags.ids, self.bags.offsets), shape=shape)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A training file, featurised. Labels are ordered by falling frequency, then text: hot rows lie side by side.

    Attributes:
        examples: of the file, then labels' own texts, each of which carries that label alone.
        texts: each text of `examples` as far as the featurizer looks at it; None of data that comes as feature ids.
        num_label_texts: how many of the last examples are labels' own texts.
    """

    featurizer: Featurizer
    label_texts: TextTable
    examples: Examples
    dropped_rows: int
    texts: TextTable | None = None
    num_label_texts: int = 0

    @property
    def num_texts(self) -> int:
        """Texts of the file."""
        return len(self.examples) - self.num_label_texts

    @property
    def num_labels(self) -> int:
        """L."""
        return len(self.label_texts)

    def label_counts(self, left_out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Texts of the file that carry each label, but for some that are left out, int64 [L]."""
        labels_NL = self.examples.labels
        counts_L = np.bincount(labels_NL.indices[: labels_NL.indptr[self.num_texts]], minlength=self.num_labels)
        if left_out is None:
            return counts_L
        return counts_L - np.bincount(labels_NL[left_out].indices, minlength=self.num_labels)

    def label_text_rows(self, left_out: NDArray[np.int64]) -> NDArray[np.int64]:
        """Examples that are labels' own texts, but for labels that no text carries which is not left out."""
        rows = np.arange(self.num_texts, len(self.examples))
        labels = self.examples.labels[self.num_texts :].indices  # Each of these texts carries its label alone.
        learnt: NDArray[np.int64] = rows[self.label_counts(left_out)[labels] > 0]
        return learnt

    def read_for(self, encoder: EncoderSection, dim: int) -> TrainingData:
        """With what an encoder of D dimensions reads beside bags.

        Raises:
            ConfigError: it reads words or pieces, and the data has features in place of texts, or there is no
                tokenizer; or it takes D features as they are, and the data has texts or another number of them.
        """
        if encoder.reads == "vector" and self.texts is not None:
            raise ConfigError(
                f"encoder.kind {encoder.kind} takes features as they are, and this data has texts; bring vectors "
                "(.npy), or choose a kind that reads texts, such as boe"
            )
        if encoder.reads == "vector" and self.featurizer.num_features != dim:
            count = self.featurizer.num_features
            raise ConfigError(
                f"encoder.kind {encoder.kind} takes {count} features as they are, and model.dim is {dim}; set "
                f"model.dim={count}, or choose a kind that learns of them, such as boe"
            )
        if encoder.max_length is None:
            return self
        if self.texts is None:
            raise ConfigError(
                f"encoder.kind {encoder.kind} reads the {encoder.reads} of texts, and this data has features in their "
                "place; bring texts, or choose a kind that reads bags, such as boe"
            )
        description = EncoderDescription(reads=encoder.reads, max_length=encoder.max_length)
        try:
            reader = open_reader(description, self.featurizer, encoder.tokenizer())
        except ValueError as error:
            raise ConfigError(f"encoder.kind {encoder.kind}: {error}") from error
        if reader is None:
            return self
        return replace(self, examples=replace(self.examples, sequences=_read_all(reader, self.texts)))

    def show(self, row: int) -> str:
        """How a text of `examples` begins, or its heaviest features where it came as feature ids."""
        if self.texts is not None:
            return self.texts[row][:_SHOWN_CHARS]
        bag = self.examples.bags.take(np.array([row]))
        heaviest = np.argsort(-bag.weights, kind="stable")[:_SHOWN_FEATURES]
        return "features " + ", ".join(f"{bag.ids[i]} ({bag.weights[i]:.2f})" for i in heaviest)


def load_training_data(dataset: Dataset, config: TrainerConfig, *, skip_bad_lines: bool) -> TrainingData:
    """Read, index the labels, learn the featurizer and featurise. Rows without a label are counted and dropped.

    With `labels.as_texts` the labels follow as texts, where the data has texts; but those of which no token is known.

    Memory is that of the texts' bytes, the features and the pairs of text and label: no row stays a Python object.

    Raises:
        DataError: bad lines (unless skipped), or nothing to learn from.
    """
    labels = _LabelColumn()
    queries = _TextColumn(config.featurizer) if dataset.num_features is None else _BagColumn(dataset.num_features)
    num_rows = 0
    for row in dataset.rows(skip_bad_lines=skip_bad_lines):
        num_rows += 1
        if row.labels:
            queries.append(row.query)
            labels.append(row.labels)
    if len(labels) < _MIN_ROWS:
        raise DataError(
            dataset.paths[0],
            None,
            f"has {len(labels)} rows with a label out of {num_rows}, and at least {_MIN_ROWS} are needed",
            "Bring a file whose rows have a text and labels",
        )
    names, labels_NL = labels.by_frequency()
    dropped = num_rows - len(labels)
    if isinstance(queries, _BagColumn):
        featurizer, bags = queries.featurize(dataset)
        return TrainingData(featurizer, names, Examples(bags, labels_NL), dropped)
    if config.labels.as_texts:
        for name in names:
            queries.append(name)
    featurizer, bags = queries.featurize(dataset)
    own_L = np.flatnonzero(bags.lengths()[len(labels) :])
    rows = np.concatenate([np.arange(len(labels)), len(labels) + own_L])
    return TrainingData(
        featurizer,
        names,
        Examples(bags.take(rows), vstack([labels_NL, _alone(own_L, len(names))], format="csr")),
        dropped,
        queries.table(rows),
        num_label_texts=len(own_L),
    )


def split_validation(bags: Bags, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and `size` rows held out, each ascending.

    All rows of a text are on one side: a text that was learnt would be answered from memory. Every distinct text is
    drawn with the same chance, however many rows it has, so that the rows held out repeat as much as the file does. A
    text with more rows than are still to be held out is learnt.
    """
    order = np.random.default_rng(seed).permutation(len(bags))
    drawn_N = np.empty(len(bags), np.int64)
    drawn_N[order] = np.arange(len(bags))
    _, first, text_N, counts = np.unique(
        _fingerprints(bags), return_index=True, return_inverse=True, return_counts=True
    )
    held, left = np.zeros(len(first), np.bool_), size
    # The turn of a text is that of its first row in the file alone: more rows do not make an early turn more likely.
    for text in np.argsort(drawn_N[first]).tolist():
        if counts[text] <= left:
            held[text], left = True, left - counts[text]
        if not left:
            break
    is_held_N = held[text_N] if held.any() else drawn_N < size
    return np.flatnonzero(~is_held_N), np.flatnonzero(is_held_N)


def _fingerprints(bags: Bags) -> NDArray[np.uint64]:
    """A number for each bag, uint64 [N], the same for equal bags and hardly ever for others."""
    mixed = bags.ids.astype(np.uint64) << np.uint64(32) | bags.weights.view(np.uint32)
    for shift, factor in _MIXING:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)])
    fingerprints_N: NDArray[np.uint64] = sums[bags.offsets[1:]] - sums[bags.offsets[:-1]]
    return fingerprints_N


# Of splitmix64 (Steele, Lea and Flood, 2014).
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_MIN_ROWS = 2
_CHUNK_ROWS = 20_000
_SHOWN_CHARS = 200
_SHOWN_FEATURES = 10


class _TextColumn:
    """Texts as they are read, one UTF-8 blob; of each the part that the featurizer looks at."""

    def __init__(self, settings: FeaturizerSection) -> None:
        self._settings = settings
        self._blob, self._ends = bytearray(), array("q", [0])

    def append(self, query: Query) -> None:
        self._blob += cast(str, query)[: self._settings.max_chars].encode()
        self._ends.append(len(self._blob))

    def table(self, rows: NDArray[np.int64] | None = None) -> TextTable:
        texts = TextTable(np.frombuffer(self._blob, np.uint8), np.frombuffer(self._ends, np.int64))
        if rows is None or len(rows) == len(texts):
            return texts
        return TextTable.from_texts(texts[row] for row in rows.tolist())

    def featurize(self, dataset: Dataset) -> tuple[Featurizer, Bags]:
        texts = self.table()
        try:
            featurizer = TextFeaturizer.fit(texts, self._settings.build())
        except ValueError as error:
            raise DataError(dataset.paths[0], None, str(error), "See --set featurizer.min_df=1") from error
        begins = range(0, len(texts), _CHUNK_ROWS)
        return featurizer, _join([featurizer.transform(texts[begin : begin + _CHUNK_ROWS]) for begin in begins])


class _BagColumn:
    """Bags of features as they are read, checked and normalised chunk by chunk."""

    def __init__(self, num_features: int) -> None:
        self._normalizer = IdFeaturizer(num_features)
        self._done: list[Bags] = []
        self._pending: list[Query] = []

    def append(self, query: Query) -> None:
        self._pending.append(query)
        if len(self._pending) == _CHUNK_ROWS:
            self._flush()

    def featurize(self, dataset: Dataset) -> tuple[Featurizer, Bags]:
        self._flush()
        bags = _join(self._done)
        if dataset.feature_names is None:
            return self._normalizer, bags
        df = np.bincount(bags.ids, minlength=self._normalizer.num_features)
        return TextFeaturizer.from_names(dataset.feature_names, df, len(bags)), bags

    def _flush(self) -> None:
        self._done.append(self._normalizer.transform(self._pending))
        self._pending.clear()


class _LabelColumn:
    """Label sets as they are read: one flat array of ids, numbered by first appearance."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._indices, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, labels: tuple[str, ...]) -> None:
        ids = self._ids
        self._indices.extend([ids.setdefault(label, len(ids)) for label in labels])
        self._ends.append(len(self._indices))

    def by_frequency(self) -> tuple[TextTable, csr_matrix]:
        """Labels by falling frequency, then text, and the sparse matrix [N, L] over them."""
        indices = np.frombuffer(self._indices, np.int32)
        names = list(self._ids)
        counts = np.bincount(indices, minlength=len(names)).tolist()
        order = sorted(range(len(names)), key=lambda label: (-counts[label], names[label]))
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        entries = (np.ones(len(indices), np.float32), ranks[indices], np.array(self._ends, np.int64))
        labels_NL = csr_matrix(entries, shape=(len(self), len(names)))
        labels_NL.sort_indices()
        return TextTable.from_texts(names[label] for label in order), labels_NL


def _alone(labels_N: NDArray[np.int64], num_labels: int) -> csr_matrix:
    """Rows that carry a label each, sparse [N, L]."""
    shape = (len(labels_N), num_labels)
    return csr_matrix((np.ones(len(labels_N), np.float32), (np.arange(len(labels_N)), labels_N)), shape=shape)


def _read_all(reader: SequenceReader, texts: TextTable) -> Sequences:
    """The words or pieces of all texts."""
    begins = range(0, len(texts), _CHUNK_ROWS)
    pieces = [reader.read(texts[begin : begin + _CHUNK_ROWS]) for begin in begins]
    lengths = np.concatenate([piece.lengths() for piece in pieces])
    ids = np.concatenate([piece.ids for piece in pieces])
    return Sequences(ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


def _join(pieces: Sequence[Bags]) -> Bags:
    """The queries of all pieces, one after the other."""
    lengths = np.concatenate([piece.lengths() for piece in pieces])
    return Bags(
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.weights for piece in pieces]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
    )
