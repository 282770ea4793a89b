"""The split on which all models are compared: featurised once, written for every tool, and measured by the same code.

Shapes: N training texts, R test texts, V features, L labels, K ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, save_npz

from astec.export.artifact.text.bags import Query
from astec.export.artifact.text.folding import fold
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities
from astec.export.readers import open_dataset
from astec.loadtest.peers.tools.tool import (
    FEATURIZER,
    TEST_FEATURES,
    TEST_TEXTS,
    TRAIN_FEATURES,
    TRAIN_LABELS,
    TRAIN_TEXTS,
    WORD_VECTORS,
    WORDS,
    label_names,
)
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.settings.config import FeaturizerSection, LabelsSection, TrainerConfig
from astec.trainer.words.word_file import english_words

RANKS = (1, 3, 5)
_WARM_UP_QUERIES = 100


@dataclass(frozen=True, slots=True)
class Accuracy:
    """P@k and PSP@k in percent, by name, and the standard error of each over the test texts."""

    metrics: dict[str, float]
    errors: dict[str, float]


@dataclass(frozen=True, slots=True)
class PeerSplit:
    """A training file and a test file.

    Attributes:
        train: the training file, featurised; after its texts may come the labels' own texts.
        queries: the queries of the test file, [R].
        relevant: the labels of each query that occur in training, [R].
        inverse_propensities: float64 [L].
        prepare_s: seconds to read and featurise the training file; our trainer spends them too.
    """

    train: TrainingData
    queries: list[Query]
    relevant: list[NDArray[np.int64]]
    inverse_propensities: NDArray[np.float64]
    prepare_s: float

    @classmethod
    def read(cls, train: Path, test: Path, propensity: tuple[float, float], *, label_texts: bool = False) -> PeerSplit:
        """Read both files.

        Args:
            train: the training file, or its folder.
            test: the test file, or its folder.
            propensity: A and B of the propensities, which count the training file's texts alone.
            label_texts: add the text of each label as one more training text that carries this label, where the data
                has texts; labels have the same ids either way.

        Raises:
            DataError: a file cannot be read, or has a bad line.
        """
        begun = perf_counter()
        config = TrainerConfig(labels=LabelsSection(as_texts=label_texts))
        data = load_training_data(open_dataset(train, "train"), config, skip_bad_lines=False)
        prepare_s = perf_counter() - begun
        label_ids = {text: label for label, text in enumerate(data.label_texts)}
        queries, relevant = [], []
        for row in open_dataset(test, "test").rows():
            queries.append(row.query)
            relevant.append(np.array([label_ids[label] for label in row.labels if label in label_ids], np.int64))
        weights_L = inverse_propensities(data.label_counts(), data.num_texts, *propensity)
        return cls(data, queries, relevant, weights_L, prepare_s)

    @property
    def has_texts(self) -> bool:
        """Whether the queries are texts, not feature ids."""
        return self.train.texts is not None

    @property
    def has_label_texts(self) -> bool:
        """Whether labels' own texts are among the training texts."""
        return self.train.num_label_texts > 0

    def row_name(self, name: str) -> str:
        """Return the name of a tool's row, which says whether the tool learns from labels' own texts."""
        return f"{name} + label texts" if self.has_label_texts else name

    def write(self, folder: Path) -> None:
        """Write all files that the tools read to `folder`."""
        num_features = self.train.featurizer.num_features
        bags = self.train.featurizer.transform(self.queries)
        test_RV = csr_matrix((bags.weights, bags.ids, bags.offsets), shape=(len(bags), num_features))
        save_npz(folder / TRAIN_FEATURES, self.train.examples.features(num_features))
        save_npz(folder / TRAIN_LABELS, self.train.examples.labels)
        save_npz(folder / TEST_FEATURES, test_RV)
        (folder / FEATURIZER).mkdir()
        self.train.featurizer.save(folder / FEATURIZER)
        if self.train.texts is None:
            return
        english = english_words()
        (folder / WORDS).write_text("\n".join(english.words), "utf-8")
        np.save(folder / WORD_VECTORS, english.vectors)
        labels_NL = self.train.examples.labels
        with (folder / TRAIN_TEXTS).open("w", encoding="utf-8", newline="\n") as stream:
            for row, text in enumerate(self.train.texts):
                label_ids = labels_NL.indices[labels_NL.indptr[row] : labels_NL.indptr[row + 1]]
                print(label_names(label_ids), _folded(text), file=stream)
        with (folder / TEST_TEXTS).open("w", encoding="utf-8", newline="\n") as stream:
            for text in self.folded_queries():
                print(text, file=stream)

    def folded_queries(self) -> list[str]:
        """Return the test queries folded, in the form in which tools that read texts get them."""
        return [_folded(str(query)) for query in self.queries]

    def measure(self, ranked_RK: NDArray[np.int64]) -> Accuracy:
        """Compute P@k and PSP@k from label ids, best first, padded with -1.

        Raises:
            ValueError: no test text has a label that occurs in training.
        """
        metrics = RankingMetrics(RANKS, self.inverse_propensities)
        metrics.update(ranked_RK, self.relevant)
        result, errors = metrics.result(), metrics.standard_errors()
        names = metric_names()
        return Accuracy({name: result[name] for name in names}, {name: errors[name] for name in names})

    def label_ids_of(self, label_texts: Sequence[str]) -> NDArray[np.int64]:
        """Map the labels of another model to the split's ids: int64 [number of labels + 1].

        The id is -1 where a label does not occur in training; the additional last entry, for padding, is -1 too.
        """
        known = {text: label for label, text in enumerate(self.train.label_texts)}
        return np.array([*(known.get(text, -1) for text in label_texts), -1], np.int64)

    def featurize_us(self) -> float:
        """Measure the microseconds to featurise one query, the median over all."""
        featurizer = self.train.featurizer
        for query in self.queries[:_WARM_UP_QUERIES]:
            featurizer.transform([query])
        times = np.empty(len(self.queries))
        for row, query in enumerate(self.queries):
            begun = perf_counter()
            featurizer.transform([query])
            times[row] = perf_counter() - begun
        return 1e6 * float(np.median(times))


def _folded(text: str) -> str:
    return fold(text, FeaturizerSection().build(num_tokens=0))


def metric_names() -> list[str]:
    """Return the names of the metrics that are compared."""
    return [f"{name}@{k}" for name in ("P", "PSP") for k in RANKS]
