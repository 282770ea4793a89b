"""The public tools (peers) that our model is compared with, each behind the same methods.

This file is started by its path, in a process and an environment of the tool's own, where nothing of this project is
installed: `python tools.py train TOOL DATA MODEL`, then `python tools.py ask TOOL DATA MODEL`. Its inputs and outputs
are files.

Shapes: N training texts, R test texts, V features, L labels, K = 5 ranks.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz

if TYPE_CHECKING:
    from astec.export.artifact.text.featurizer import Featurizer

TRAIN_FEATURES, TRAIN_LABELS, TEST_FEATURES = "train_features.npz", "train_labels.npz", "test_features.npz"
"""Sparse matrices [N, V], [N, L] and [R, V]."""
TRAIN_TEXTS, TEST_TEXTS = "train.txt", "test.txt"
"""One folded text per line; a training text follows its labels, `__label__ID`."""
FEATURIZER = "featurizer"
"""Folder of the featurizer with which the features were made."""
TRAINING_FILE, RANKED_FILE, TIMES_FILE = "training.json", "ranked.npy", "query_s.npy"
"""The tool's version and training time; label ids int64 [R, K], padded with -1; seconds per query float64 [R]."""
TOP_K = 5
_LABEL_PREFIX = "__label__"
_WARM_UP_QUERIES = 100
_SEED = 0

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
        return load_npz(self._data / name).tocsr()


class TextTool(Tool[Query, Answer]):
    """A tool that can be asked texts, and therefore be served."""

    @abstractmethod
    def from_text(self, text: str) -> Query:
        """Convert a folded text to the form that the tool takes; `open` must be called before."""

    @abstractmethod
    def scores(self, answer: Answer) -> Sequence[float]:
        """Return the scores of the labels of an answer."""


class OmikujiParabel(TextTool[list[tuple[int, float]], list[tuple[int, float]]]):
    """Three balanced binary label trees: the library's defaults."""

    distribution = "omikuji"
    changes: ClassVar[dict[str, int | bool]] = {}

    def load(self) -> None:
        """Write the training data in the XC repository's format, the only one that the library reads."""
        features_NV, labels_NL = self._features(TRAIN_FEATURES), self._features(TRAIN_LABELS)
        self._file = self._data / "train.xc.txt"
        with self._file.open("w") as stream:
            print(*features_NV.shape, labels_NL.shape[1], file=stream)
            for row in range(len(features_NV.indptr) - 1):
                pairs = " ".join(f"{feature}:{weight:.7g}" for feature, weight in _pairs(features_NV, row))
                print(",".join(str(label) for label, _ in _pairs(labels_NL, row)), pairs, file=stream)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        import omikuji

        settings = omikuji.Model.default_hyper_param()
        for name, value in self.changes.items():
            setattr(settings, name, value)
        model = omikuji.Model.train_on_data(str(self._file), settings, _usable_cpus())
        model.save(str(self._model))

    def open(self) -> Sequence[list[tuple[int, float]]]:
        """Open the model; a query is a list of features and weights."""
        import omikuji

        self._opened = omikuji.Model.load(str(self._model))
        self._opened.init_prediction_thread_pool(1)
        features_RV = self._features(TEST_FEATURES)
        return [_pairs(features_RV, row) for row in range(features_RV.shape[0])]

    def ask(self, query: list[tuple[int, float]]) -> list[tuple[int, float]]:
        """Return the labels with their scores."""
        answer: list[tuple[int, float]] = self._opened.predict(query, top_k=TOP_K)
        return answer

    def labels(self, answer: list[tuple[int, float]]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return [label for label, _ in answer]

    def scores(self, answer: list[tuple[int, float]]) -> list[float]:
        """Return the scores of the labels of an answer."""
        return [score for _, score in answer]

    def from_text(self, text: str) -> list[tuple[int, float]]:
        """Featurise the text with this project's featurizer, whose features the model is trained on.

        The library has no featurizer of its own.
        """
        bags = self._featurizer.transform([text])
        return list(zip(bags.ids.tolist(), bags.weights.tolist(), strict=True))

    @cached_property
    def _featurizer(self) -> Featurizer:
        from astec.export.artifact.text.featurizer import open_featurizer

        return open_featurizer(self._data / FEATURIZER)


class OmikujiBonsai(OmikujiParabel):
    """Three shallow unbalanced label trees, as the library's documentation sets Bonsai up."""

    changes: ClassVar[dict[str, int | bool]] = {"cluster_balanced": False, "cluster_k": 100, "max_depth": 3}


class Pecos(Tool[csr_matrix, csr_matrix]):
    """PECOS XR-Linear over PIFA label embeddings: the library's defaults."""

    distribution = "libpecos"

    def load(self) -> None:
        """Load the training data in the form that the library takes."""
        self._X = self._features(TRAIN_FEATURES).astype(np.float32)
        self._Y = self._features(TRAIN_LABELS).astype(np.float32)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        _train_xr_linear(self._X, self._Y, self._model)

    def open(self) -> Sequence[csr_matrix]:
        """Open the model; a query is a sparse row."""
        self._opened = _open_xr_linear(self._model)
        return _rows(self._features(TEST_FEATURES).astype(np.float32))

    def ask(self, query: csr_matrix) -> csr_matrix:
        """Return a sparse row of scores."""
        return self._opened.predict(query, only_topk=TOP_K, threads=1)

    def labels(self, answer: csr_matrix) -> list[int]:
        """Return the label ids of an answer, best first."""
        labels: list[int] = answer.indices[_best_first(answer)].tolist()
        return labels


class PecosText(TextTool[str, csr_matrix]):
    """PECOS from text to labels, with the library's own TF-IDF of words, word bigrams and character 3- and 4-grams.

    The library's default format of the weights was as fast as its hashed and its memory-mapped format.
    """

    distribution = "libpecos"
    reads_texts = True
    ngrams: ClassVar[tuple[dict[str, Any], ...]] = (
        {"analyzer": "word", "ngram_range": (1, 2)},
        {"analyzer": "char_wb", "ngram_range": (3, 4)},
    )

    def load(self) -> None:
        """Load the training data in the form that the library takes."""
        lines = (self._data / TRAIN_TEXTS).read_text("utf-8").split("\n")[:-1]
        self._texts = [" ".join(word for word in line.split() if not word.startswith(_LABEL_PREFIX)) for line in lines]
        self._Y = self._features(TRAIN_LABELS).astype(np.float32)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        from pecos.utils.featurization.text.vectorizers import Tfidf

        vectorizer = Tfidf.train(self._texts, {"base_vect_configs": [dict(kind) for kind in self.ngrams]})
        vectorizer.save(str(self._model / "vectorizer"))
        _train_xr_linear(vectorizer.predict(self._texts), self._Y, self._model)

    def open(self) -> Sequence[str]:
        """Open the model; a query is a text."""
        from pecos.utils.featurization.text.vectorizers import Tfidf

        self._vectorizer = Tfidf.load(str(self._model / "vectorizer"))
        self._opened = _open_xr_linear(self._model)
        return _test_texts(self._data)

    def ask(self, query: str) -> csr_matrix:
        """Return a sparse row of scores."""
        features_1V = self._vectorizer.predict([query], threads=1)
        return self._opened.predict(features_1V, only_topk=TOP_K, threads=1)

    def labels(self, answer: csr_matrix) -> list[int]:
        """Return the label ids of an answer, best first."""
        labels: list[int] = answer.indices[_best_first(answer)].tolist()
        return labels

    def scores(self, answer: csr_matrix) -> list[float]:
        """Return the scores of the labels of an answer."""
        scores: list[float] = answer.data[_best_first(answer)].tolist()
        return scores

    def from_text(self, text: str) -> str:
        """Return the text unchanged."""
        return text


def _train_xr_linear(X: csr_matrix, Y: csr_matrix, model: Path) -> None:
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

    clusters = Indexer.gen(LabelEmbeddingFactory.create(Y, X, method="pifa"), seed=_SEED)
    XLinearModel.train(X, Y, C=clusters).save(str(model))


def _open_xr_linear(model: Path) -> Any:  # noqa: ANN401 - the library has no types
    from pecos.xmc.xlinear.model import XLinearModel

    return XLinearModel.load(str(model), is_predict_only=True)


def _best_first(scores_1L: csr_matrix) -> NDArray[np.int64]:
    return np.argsort(-scores_1L.data, kind="stable")


class NapkinXc(Tool[csr_matrix, list[list[int]]]):
    """A probabilistic label tree: the library's defaults."""

    distribution = "napkinxc"

    def load(self) -> None:
        """Load the training data in the form that the library takes."""
        self._X, self._Y = self._features(TRAIN_FEATURES), self._features(TRAIN_LABELS)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        from napkinxc.models import PLT

        PLT(str(self._model), threads=_usable_cpus(), seed=_SEED).fit(self._X, self._Y)

    def open(self) -> Sequence[csr_matrix]:
        """Open the model; a query is a sparse row."""
        from napkinxc.models import PLT

        self._opened = PLT(str(self._model), threads=1)
        self._opened.load()
        return _rows(self._features(TEST_FEATURES))

    def ask(self, query: csr_matrix) -> list[list[int]]:
        """Return the labels of the one row."""
        answer: list[list[int]] = self._opened.predict(query, top_k=TOP_K)
        return answer

    def labels(self, answer: list[list[int]]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return answer[0]


class FastText(TextTool[str, tuple[tuple[str, ...], Any]]):
    """Averaged word, bigram and character n-gram vectors with one-vs-all loss; other settings as in its tutorial."""

    distribution = "fasttext-numpy2-wheel"
    reads_texts = True

    def load(self) -> None:
        """Do nothing: the library reads the file itself."""

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        import fasttext

        model = fasttext.train_supervised(
            str(self._data / TRAIN_TEXTS),
            lr=0.5,
            epoch=25,
            wordNgrams=2,
            minn=3,
            maxn=4,
            bucket=200_000,
            loss="ova",
            seed=_SEED,
            thread=_usable_cpus(),
            verbose=0,
        )
        model.save_model(str(self._model))

    def open(self) -> Sequence[str]:
        """Open the model; a query is a text."""
        import fasttext

        self._opened = fasttext.load_model(str(self._model))
        return _test_texts(self._data)

    def ask(self, query: str) -> tuple[tuple[str, ...], Any]:
        """Return label names and probabilities."""
        answer: tuple[tuple[str, ...], Any] = self._opened.predict(query, k=TOP_K)
        return answer

    def labels(self, answer: tuple[tuple[str, ...], Any]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return [int(name.removeprefix(_LABEL_PREFIX)) for name in answer[0]]

    def scores(self, answer: tuple[tuple[str, ...], Any]) -> list[float]:
        """Return the scores of the labels of an answer."""
        scores: list[float] = answer[1].tolist()
        return scores

    def from_text(self, text: str) -> str:
        """Return the text unchanged."""
        return text


TOOLS: dict[str, type[Tool[Any, Any]]] = {
    "omikuji-parabel": OmikujiParabel,
    "omikuji-bonsai": OmikujiBonsai,
    "pecos": Pecos,
    "pecos-text": PecosText,
    "napkinxc": NapkinXc,
    "fasttext": FastText,
}


def label_names(label_ids: Sequence[int]) -> str:
    """Return label ids in the form that fastText reads."""
    return " ".join(f"{_LABEL_PREFIX}{label}" for label in label_ids)


def train_tool(tool: Tool[Any, Any], model: Path) -> None:
    """Train the tool and write the training time and the tool's version."""
    tool.load()
    begun = perf_counter()
    tool.train()
    figures = {"train_s": perf_counter() - begun, "version": version(tool.distribution)}
    (model.parent / TRAINING_FILE).write_text(json.dumps(figures))


def ask_tool(tool: Tool[Any, Any], model: Path) -> None:
    """Ask every test query alone, and write the answers and the time of each."""
    queries = tool.open()
    for query in queries[:_WARM_UP_QUERIES]:
        tool.ask(query)
    ranked_RK, times_R = np.full((len(queries), TOP_K), -1, np.int64), np.zeros(len(queries))
    for row, query in enumerate(queries):
        begun = perf_counter()
        answer = tool.ask(query)
        times_R[row] = perf_counter() - begun
        label_ids = tool.labels(answer)
        ranked_RK[row, : len(label_ids)] = label_ids
    np.save(model.parent / RANKED_FILE, ranked_RK)
    np.save(model.parent / TIMES_FILE, times_R)


def _pairs(matrix: csr_matrix, row: int) -> list[tuple[int, float]]:
    inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return list(zip(matrix.indices[inside].tolist(), matrix.data[inside].tolist(), strict=True))


def _test_texts(data: Path) -> list[str]:
    return (data / TEST_TEXTS).read_text("utf-8").split("\n")[:-1]


def _rows(matrix: csr_matrix) -> list[csr_matrix]:
    return [matrix[row] for row in range(matrix.shape[0])]


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Run one job of one tool."""
    job, name, data, model = sys.argv[1:]
    tool = TOOLS[name](Path(data), Path(model))
    {"train": train_tool, "ask": ask_tool}[job](tool, Path(model))


if __name__ == "__main__":
    main()
