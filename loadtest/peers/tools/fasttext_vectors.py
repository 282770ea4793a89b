"""fastText's supervised mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astec.loadtest.peers.tools.tool import (
    LABEL_PREFIX,
    SEED,
    TOP_K,
    TRAIN_TEXTS,
    TextTool,
    test_texts,
    usable_cpus,
)

_LEARNING_RATE, _LEAST_LEARNING_RATE = 0.5, 0.01


class FastText(TextTool[str, tuple[tuple[str, ...], Any]]):
    """Averaged word, bigram and character n-gram vectors with one-vs-all loss; other settings as in its tutorial.

    The learning rate is halved where the tutorial's diverges, as it does with many labels.
    """

    distribution = "fasttext-numpy2-wheel"
    reads_texts = True

    def load(self) -> None:
        """Do nothing: the library reads the file itself."""

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        rate = _LEARNING_RATE
        while True:
            try:
                self._train(rate)
            except RuntimeError as error:
                if "NaN" not in str(error) or rate < _LEAST_LEARNING_RATE:
                    raise
                rate /= 2
            else:
                return

    def _train(self, rate: float) -> None:
        import fasttext

        model = fasttext.train_supervised(
            str(self._data / TRAIN_TEXTS),
            lr=rate,
            epoch=25,
            wordNgrams=2,
            minn=3,
            maxn=4,
            bucket=200_000,
            loss="ova",
            seed=SEED,
            thread=usable_cpus(),
            verbose=0,
        )
        model.save_model(str(self._model))

    def open(self) -> Sequence[str]:
        """Open the model; a query is a text."""
        import fasttext

        self._opened = fasttext.load_model(str(self._model))
        return test_texts(self._data)

    def ask(self, query: str) -> tuple[tuple[str, ...], Any]:
        """Return label names and probabilities."""
        answer: tuple[tuple[str, ...], Any] = self._opened.predict(query, k=TOP_K)
        return answer

    def labels(self, answer: tuple[tuple[str, ...], Any]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return [int(name.removeprefix(LABEL_PREFIX)) for name in answer[0]]

    def scores(self, answer: tuple[tuple[str, ...], Any]) -> list[float]:
        """Return the scores of the labels of an answer."""
        scores: list[float] = answer[1].tolist()
        return scores

    def from_text(self, text: str) -> str:
        """Return the text unchanged."""
        return text
