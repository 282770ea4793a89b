"""PECOS XR-Linear, on our features and on its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.loadtest.peers.tools.tool import (
    LABEL_PREFIX,
    SEED,
    TEST_FEATURES,
    TOP_K,
    TRAIN_FEATURES,
    TRAIN_LABELS,
    TRAIN_TEXTS,
    TextTool,
    Tool,
    rows,
    test_texts,
)


class _XrLinear(Protocol):
    """What is used of the library's model; the library has no types."""

    def predict(self, X: csr_matrix, *, only_topk: int, threads: int) -> csr_matrix:
        """Return the scores of the best labels of each row."""
        ...


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
        return rows(self._features(TEST_FEATURES).astype(np.float32))

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
        self._texts = [" ".join(word for word in line.split() if not word.startswith(LABEL_PREFIX)) for line in lines]
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
        return test_texts(self._data)

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

    clusters = Indexer.gen(LabelEmbeddingFactory.create(Y, X, method="pifa"), seed=SEED)
    XLinearModel.train(X, Y, C=clusters).save(str(model))


def _open_xr_linear(model: Path) -> _XrLinear:
    from pecos.xmc.xlinear.model import XLinearModel

    opened: _XrLinear = XLinearModel.load(str(model), is_predict_only=True)
    return opened


def _best_first(scores_1L: csr_matrix) -> NDArray[np.int64]:
    return np.argsort(-scores_1L.data, kind="stable")
