"""The columns of a training file, each kept compactly while the rows are read, and the join of rows of the same text.

No row stays a Python object: memory is that of the texts' bytes, the features and the pairs of text and label.

Shapes: N rows, M texts of joined rows, L labels, P pairs of text and label.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags, Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.folding import seen_words
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.token_counts import count_tokens
from astec.export.readers import DataError, Dataset
from astec.trainer.data.chunks import CHUNK_ROWS, join_bags, text_chunks
from astec.trainer.data.clicks import weigh_clicks
from astec.trainer.data.fingerprints import fingerprints
from astec.trainer.settings.config import ClicksSection, FeaturizerSection


class TextColumn:
    """The texts of a file in one UTF-8 buffer; each is cut to the characters that the featurizer reads."""

    def __init__(self, settings: FeaturizerSection) -> None:
        self._settings = settings
        self._blob, self._ends = bytearray(), array("q", [0])

    def append(self, query: Query) -> None:
        """Add a text."""
        self._blob += cast(str, query)[: self._settings.max_chars].encode()
        self._ends.append(len(self._blob))

    def table(self, rows: NDArray[np.int64] | None = None) -> TextTable:
        """Return the texts `rows`, or all texts."""
        texts = TextTable(np.frombuffer(self._blob, np.uint8), np.frombuffer(self._ends, np.int64))
        return texts if rows is None or len(rows) == len(texts) else texts.take(rows)

    def keys(self) -> NDArray[np.int64]:
        """Return a number for each text, [N]: the same for texts that the featurizer folds to the same words."""
        numbers: dict[str, int] = {}
        # A text without a word is compared as it is.
        config = self._settings.build(num_tokens=0)
        words = (seen_words(text, config) or text for text in self.table())
        return np.fromiter((numbers.setdefault(text, len(numbers)) for text in words), np.int64, len(self._ends) - 1)

    def take(self, rows: NDArray[np.int64]) -> TextColumn:
        """Return a column of the texts `rows`, in that order."""
        taken = TextColumn(self._settings)
        for text in self.table(rows):
            taken.append(text)
        return taken

    def featurize(self, dataset: Dataset, words: Iterable[str] = ()) -> tuple[TextFeaturizer, Bags]:
        """Fit a featurizer to the texts, which knows `words` too, and apply it to them.

        Raises:
            DataError: there is no token, or none occurs in enough texts.
        """
        texts = self.table()
        counts = count_tokens(texts, self._settings.build(num_tokens=0))
        if not len(counts):
            problem = f"none of its {len(texts)} texts has a token to learn from, as they hold no words"
            raise DataError(dataset.paths[0], None, problem, "Check that the texts are what should be learnt from")
        try:
            fitted = TextFeaturizer.from_counts(counts, self._settings.build(len(counts)))
        except ValueError as error:
            raise DataError(dataset.paths[0], None, str(error), "See --set featurizer.min_df=1") from error
        featurizer = fitted.with_words(words, len(texts))
        return featurizer, join_bags([featurizer.transform(chunk) for chunk in text_chunks(texts)])


class BagColumn:
    """The bags of features of a file, checked and normalised chunk by chunk."""

    def __init__(self, num_features: int) -> None:
        self._normalizer = IdFeaturizer(num_features)
        self._done: list[Bags] = []
        self._pending: list[Query] = []

    def append(self, query: Query) -> None:
        """Add a bag."""
        self._pending.append(query)
        if len(self._pending) == CHUNK_ROWS:
            self._flush()

    def keys(self) -> NDArray[np.uint64]:
        """Return a number for each bag, [N]: the same for equal bags, and almost never the same for others."""
        self._flush()
        return fingerprints(join_bags(self._done))

    def take(self, rows: NDArray[np.int64]) -> BagColumn:
        """Return a column of the bags `rows`, in that order."""
        self._flush()
        taken = BagColumn(self._normalizer.num_features)
        taken._done = [join_bags(self._done).take(rows)]
        return taken

    def featurize(self, dataset: Dataset) -> tuple[Featurizer, Bags]:
        """Return the normalised bags and their featurizer, which reads words where the features have names."""
        self._flush()
        bags = join_bags(self._done)
        if dataset.feature_names is None:
            return self._normalizer, bags
        df = np.bincount(bags.ids, minlength=self._normalizer.num_features)
        return TextFeaturizer.from_names(dataset.feature_names, df, len(bags)), bags

    def _flush(self) -> None:
        self._done.append(self._normalizer.transform(self._pending))
        self._pending.clear()


class LabelColumn:
    """The label sets of a file: one flat array of label ids, numbered by first appearance, and their weights."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._indices, self._ends = array("i"), array("q", [0])
        self._weights: array[float] | None = None  # made for the first weight that is not 1

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def is_weighted(self) -> bool:
        """True if a pair has another weight than 1."""
        return self._weights is not None

    def append(self, labels: tuple[str, ...], weights: tuple[float, ...] | None = None) -> None:
        """Add the labels of a text and their weights, by default 1 each."""
        ids = self._ids
        if weights is not None and self._weights is None:
            self._weights = array("d", [1.0]) * len(self._indices)
        if self._weights is not None:
            self._weights.extend([1.0] * len(labels) if weights is None else weights)
        self._indices.extend([ids.setdefault(label, len(ids)) for label in labels])
        self._ends.append(len(self._indices))

    def clicks(self) -> NDArray[np.float64]:
        """Return the clicks of each row: those of its label with most, [N]."""
        return np.maximum.reduceat(self._pair_clicks(), np.frombuffer(self._ends, np.int64)[:-1])

    def join(self, text_N: NDArray[np.int64]) -> LabelColumn:
        """Return a column of the texts 0..M-1, whose weights are the sums over the rows of each."""
        indices, ends = np.frombuffer(self._indices, np.int32), np.frombuffer(self._ends, np.int64)
        pairs = (np.repeat(text_N, np.diff(ends)), indices)
        sums = coo_matrix((self._pair_clicks(), pairs), shape=(text_N.max() + 1, len(self._ids))).tocsr()
        joined = LabelColumn()
        joined._ids = self._ids
        joined._indices = array("i", sums.indices.astype(np.int32).tobytes())
        joined._ends = array("q", sums.indptr.astype(np.int64).tobytes())
        joined._weights = array("d", sums.data.tobytes()) if np.any(sums.data != 1) else None
        return joined

    def by_frequency(self, settings: ClicksSection, num_learnt: int) -> tuple[TextTable, csr_matrix]:
        """Return the labels by falling number of texts, then by text, and the sparse matrix [N, L] over them.

        Its entries are the weights that the settings give to the pairs, float32: 1 each where no pair is weighted.
        Otherwise the heaviest labels of the first `num_learnt` texts have a mean weight of 1.
        """
        indices = np.frombuffer(self._indices, np.int32)
        names, indptr = list(self._ids), np.array(self._ends, np.int64)
        counts = np.bincount(indices, minlength=len(names)).tolist()
        order = sorted(range(len(names)), key=lambda label: (-counts[label], names[label]))
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        weights_P = np.ones(len(indices), np.float32)
        if self.is_weighted:
            weights_P = weigh_clicks(self._pair_clicks(), indptr, settings.weighting, num_learnt)
        labels_NL = csr_matrix((weights_P, ranks[indices], indptr), shape=(len(self), len(names)))
        labels_NL.sort_indices()
        return TextTable.from_texts(names[label] for label in order), labels_NL

    def _pair_clicks(self) -> NDArray[np.float64]:
        """Return the weight of each pair as it was read, [P]."""
        return np.ones(len(self._indices)) if self._weights is None else np.frombuffer(self._weights, np.float64)
