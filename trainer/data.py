"""Rows of text and labels to the arrays that training works on.

Shapes: N texts, L labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Bag, Bags, Featurizer, IdFeaturizer, Query, TextFeaturizer
from export.artifact.labels import TextTable
from export.readers import DataError, Dataset
from trainer.config import FeaturizerSection


@dataclass(frozen=True, slots=True)
class Examples:
    """Featurised texts, and their labels: sparse [N, L] with sorted indices."""

    bags: Bags
    labels: csr_matrix

    def __len__(self) -> int:
        return len(self.bags)

    def label_counts(self) -> NDArray[np.int64]:
        """Texts of each label, int64 [L]."""
        return np.bincount(self.labels.indices, minlength=self.labels.shape[1])

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The examples `rows`, in that order."""
        return Examples(self.bags.take(rows), self.labels[rows])

    def features(self, num_features: int) -> csr_matrix:
        """The bags as a sparse matrix [N, V]."""
        shape = (len(self.bags), num_features)
        return csr_matrix((self.bags.weights, self.bags.ids, self.bags.offsets), shape=shape)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A training file, featurised. Labels are ordered by falling frequency, then text: hot rows lie side by side."""

    featurizer: Featurizer
    label_texts: TextTable
    examples: Examples
    dropped_rows: int

    @property
    def num_labels(self) -> int:
        """L."""
        return len(self.label_texts)


def load_training_data(dataset: Dataset, settings: FeaturizerSection, *, skip_bad_lines: bool) -> TrainingData:
    """Read, index the labels, learn the featurizer and featurise. Rows without a label are counted and dropped.

    Raises:
        DataError: bad lines (unless skipped), or nothing to learn from.
    """
    queries: list[Query] = []
    label_sets: list[tuple[str, ...]] = []
    num_rows = 0
    for row in dataset.rows(skip_bad_lines=skip_bad_lines):
        num_rows += 1
        if row.labels:
            queries.append(row.query)
            label_sets.append(row.labels)
    if len(queries) < _MIN_ROWS:
        raise DataError(
            dataset.paths[0],
            None,
            f"has {len(queries)} rows with a label out of {num_rows}, and at least {_MIN_ROWS} are needed",
            "Bring a file whose rows have a text and labels",
        )
    counts = Counter(label for labels in label_sets for label in labels)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    featurizer = _fit_featurizer(queries, dataset, settings)
    labels_NL = _label_matrix(label_sets, {name: label for label, name in enumerate(names)})
    examples = Examples(featurizer.transform(queries), labels_NL)
    return TrainingData(featurizer, TextTable.from_texts(names), examples, num_rows - len(queries))


def split_validation(
    num_rows: int, fraction: float, max_rows: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows held out, each ascending; both have at least one row."""
    size = max(1, min(round(num_rows * fraction), max_rows, num_rows - 1))
    shuffled = np.random.default_rng(seed).permutation(num_rows)
    return np.sort(shuffled[size:]), np.sort(shuffled[:size])


_MIN_ROWS = 2


def _fit_featurizer(queries: list[Query], dataset: Dataset, settings: FeaturizerSection) -> Featurizer:
    if dataset.query_kind == "text":
        try:
            return TextFeaturizer.fit((query for query in queries if isinstance(query, str)), settings.build())
        except ValueError as error:
            raise DataError(dataset.paths[0], None, str(error), "See --set featurizer.min_df=1") from error
    bags = [query for query in queries if isinstance(query, Bag)]
    num_features = dataset.num_features or 1 + max((int(bag.ids.max(initial=0)) for bag in bags), default=0)
    if dataset.feature_names is None:
        return IdFeaturizer(num_features)
    df = np.bincount(np.concatenate([bag.ids for bag in bags]), minlength=num_features)
    return TextFeaturizer.from_names(dataset.feature_names, df, len(bags))


def _label_matrix(label_sets: Sequence[tuple[str, ...]], ids: dict[str, int]) -> csr_matrix:
    indptr = np.zeros(len(label_sets) + 1, np.int64)
    np.cumsum([len(labels) for labels in label_sets], out=indptr[1:])
    indices = np.fromiter((ids[label] for labels in label_sets for label in labels), np.int32, int(indptr[-1]))
    matrix = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(label_sets), len(ids)))
    matrix.sort_indices()
    return matrix
