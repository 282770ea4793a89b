"""The columns of a training file, each kept compactly while the rows are read.

No row stays a Python object: memory is that of the texts' bytes, the features and the pairs of text and label.

Shapes: N texts, L labels.
"""

from __future__ import annotations

from array import array
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags, Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.token_counts import count_tokens
from astec.export.readers import DataError, Dataset
from astec.trainer.data.chunks import CHUNK_ROWS, join_bags, text_chunks
from astec.trainer.settings.config import FeaturizerSection


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
        if rows is None or len(rows) == len(texts):
            return texts
        return TextTable.from_texts(texts[row] for row in rows.tolist())

    def featurize(self, dataset: Dataset) -> tuple[Featurizer, Bags]:
        """Fit a featurizer to the texts and apply it to them.

        Raises:
            DataError: there is no token, or none occurs in enough texts.
        """
        texts = self.table()
        counts = count_tokens(texts, self._settings.build(num_tokens=0))
        if not len(counts):
            problem = f"none of its {len(texts)} texts has a token to learn from, as they hold no words"
            raise DataError(dataset.paths[0], None, problem, "Check that the texts are what should be learnt from")
        try:
            featurizer = TextFeaturizer.from_counts(counts, self._settings.build(len(counts)))
        except ValueError as error:
            raise DataError(dataset.paths[0], None, str(error), "See --set featurizer.min_df=1") from error
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
    """The label sets of a file: one flat array of label ids, numbered by first appearance."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._indices, self._ends = array("i"), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, labels: tuple[str, ...]) -> None:
        """Add the labels of a text."""
        ids = self._ids
        self._indices.extend([ids.setdefault(label, len(ids)) for label in labels])
        self._ends.append(len(self._indices))

    def by_frequency(self) -> tuple[TextTable, csr_matrix]:
        """Return the labels by falling frequency, then by text, and the sparse matrix [N, L] over them."""
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
