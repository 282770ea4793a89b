"""What every tool is: a model that is trained on files and asked one query at a time, and the names of those files.

Shapes: N training texts, R test texts, V features, L labels, K = 5 ranks.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from scipy.sparse import csr_matrix, load_npz

TRAIN_FEATURES, TRAIN_LABELS, TEST_FEATURES = "train_features.npz", "train_labels.npz", "test_features.npz"
"""Sparse matrices [N, V], [N, L] and [R, V]."""
TRAIN_TEXTS, TEST_TEXTS = "train.txt", "test.txt"
"""One folded text per line; a training text follows its labels, `__label__ID`."""
WORDS, WORD_VECTORS = "words.txt", "word_vectors.npy"
"""The words of the project's own static vectors, one per line, and the vectors: float32 [F, P]."""
FEATURIZER = "featurizer"
"""Folder of the featurizer with which the features were made."""
TRAINING_FILE, RANKED_FILE, TIMES_FILE = "training.json", "ranked.npy", "query_s.npy"
"""The tool's version and training time; label ids int64 [R, K], padded with -1; seconds per query float64 [R]."""
TOP_K = 5
LABEL_PREFIX = "__label__"
SEED = 0

Query = TypeVar("Query")
Answer = TypeVar("Answer")


class Tool(ABC, Generic[Query, Answer]):
    """A tool: trains a model and answers queries with it.

    Args:
        data: folder of the training and test files.
        model: path of the model, which may become a file or a folder.
    """

    distribution: ClassVar[str]
    reads_texts: ClassVar[bool] = False

    def __init__(self, data: Path, model: Path) -> None:
        self._data, self._model = data, model

    @abstractmethod
    def load(self) -> None:
        """Convert the training data to the form that the tool takes."""

    @abstractmethod
    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""

    @abstractmethod
    def open(self) -> Sequence[Query]:
        """Open the model for use on one thread; return the test queries in the form that the tool takes."""

    @abstractmethod
    def ask(self, query: Query) -> Answer:
        """Return the K best labels of a query, in the form that the tool gives."""

    @abstractmethod
    def labels(self, answer: Answer) -> Sequence[int]:
        """Return the label ids of an answer, best first."""

    def _features(self, name: str) -> csr_matrix:
        matrix: csr_matrix = load_npz(self._data / name).tocsr()
        matrix.sort_indices()  # PECOS refuses rows in another order
        return matrix


class TextTool(Tool[Query, Answer]):
    """A tool that can be asked texts, and therefore be served."""

    @abstractmethod
    def from_text(self, text: str) -> Query:
        """Convert a folded text to the form that the tool takes; `open` must be called before."""

    @abstractmethod
    def scores(self, answer: Answer) -> Sequence[float]:
        """Return the scores of the labels of an answer."""


def label_names(label_ids: Sequence[int]) -> str:
    """Return label ids in the form that fastText reads."""
    return " ".join(f"{LABEL_PREFIX}{label}" for label in label_ids)


def unlabelled(line: str) -> str:
    """Return the text of a line of `TRAIN_TEXTS`, without the labels before it."""
    words = line.split(" ")
    num_labels = next((place for place, word in enumerate(words) if not word.startswith(LABEL_PREFIX)), len(words))
    return " ".join(words[num_labels:])


def test_texts(data: Path) -> list[str]:
    """Return the folded test texts."""
    return (data / TEST_TEXTS).read_text("utf-8").split("\n")[:-1]


def rows(matrix: csr_matrix) -> list[csr_matrix]:
    """Return each row of a sparse matrix."""
    return [matrix[row] for row in range(matrix.shape[0])]


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
