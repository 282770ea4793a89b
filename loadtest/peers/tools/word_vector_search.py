"""Static word vectors with nearest-neighbour search: model2vec makes a vector of a text, usearch finds the labels.

Shapes: F words, P dimensions, N training texts, L labels, K = 5 ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import diags

from astec.loadtest.peers.tools.tool import (
    TOP_K,
    TRAIN_LABELS,
    TRAIN_TEXTS,
    WORD_VECTORS,
    WORDS,
    TextTool,
    test_texts,
    unlabelled,
)

_UNKNOWN = "[UNK]"
# The coefficient of smooth inverse frequency with which model2vec weights tokens when it makes a model.
_SIF = 1e-4
_TOKENIZER, _VECTORS, _INDEX = "tokenizer.json", "vectors.npy", "labels.usearch"


class Model2Vec(TextTool[str, Any]):
    """The mean of the vectors of a text's words; a label's vector is the mean of the vectors of its training texts.

    The words and their vectors are those that come with this project, because the package of model2vec has none. A word
    counts for less the more frequent it is in the training texts, as in the models that model2vec makes. The index is a
    graph with usearch's own settings, searched by the cosine.
    """

    distribution = "model2vec"
    reads_texts = True

    def load(self) -> None:
        """Read training texts, words and vectors."""
        self._texts = [unlabelled(line) for line in (self._data / TRAIN_TEXTS).read_text("utf-8").split("\n")[:-1]]
        self._words = (self._data / WORDS).read_text("utf-8").split("\n")
        self._vectors_FP: NDArray[np.float32] = np.load(self._data / WORD_VECTORS)

    def train(self) -> None:
        """Compute the vectors of all labels, and write the encoder and an index of them to disk."""
        from model2vec import StaticModel
        from usearch.index import Index

        tokenizer, vectors_FP = self._tokenizer(), self._weighted()
        texts_NP = StaticModel(vectors_FP, tokenizer, normalize=True).encode(self._texts)
        labels_LN = self._features(TRAIN_LABELS).T.tocsr()
        totals_LP = labels_LN @ texts_NP
        counts_L = np.maximum(np.diff(labels_LN.indptr), 1)
        labels_LP = (diags(1 / counts_L) @ totals_LP).astype(np.float32)
        index = Index(ndim=labels_LP.shape[1], metric="cos", dtype="f32")
        found_L = np.flatnonzero(labels_LP.any(axis=1))
        index.add(found_L.astype(np.uint64), labels_LP[found_L])
        self._model.mkdir()
        # Not with methods of model2vec, which need a client of a hub of models.
        tokenizer.save(str(self._model / _TOKENIZER))
        np.save(self._model / _VECTORS, vectors_FP)
        index.save(str(self._model / _INDEX))

    def _weighted(self) -> NDArray[np.float32]:
        """Return the vector of the unknown word and of each other one, [1 + F, P]."""
        frequency = Counter(word for text in self._texts for word in text.split())
        total = frequency.total()
        weights_F = np.array([_SIF / (_SIF + frequency[word] / total) for word in self._words], np.float32)
        return np.vstack([np.zeros_like(self._vectors_FP[:1]), self._vectors_FP * weights_F[:, None]])

    def _tokenizer(self) -> Any:  # noqa: ANN401  (of a library that is installed elsewhere)
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit

        vocabulary = {_UNKNOWN: 0} | {word: row for row, word in enumerate(self._words, 1)}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        return tokenizer

    def open(self) -> Sequence[str]:
        """Open the model; a query is a text."""
        from model2vec import StaticModel
        from tokenizers import Tokenizer
        from usearch.index import Index

        tokenizer = Tokenizer.from_file(str(self._model / _TOKENIZER))
        self._opened = StaticModel(np.load(self._model / _VECTORS), tokenizer, normalize=True)
        self._index = Index.restore(str(self._model / _INDEX))
        return test_texts(self._data)

    def ask(self, query: str) -> Any:  # noqa: ANN401  (of a library that is installed elsewhere)
        """Return the nearest labels."""
        return self._index.search(self._opened.encode(query), TOP_K, threads=1)

    def labels(self, answer: Any) -> list[int]:  # noqa: ANN401
        """Return the label ids of an answer, best first."""
        ids: list[int] = answer.keys.tolist()
        return ids

    def scores(self, answer: Any) -> list[float]:  # noqa: ANN401
        """Return the cosines of the labels of an answer."""
        cosines: list[float] = (1 - answer.distances).tolist()
        return cosines

    def from_text(self, text: str) -> str:
        """Return the text unchanged."""
        return text
