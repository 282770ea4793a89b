"""napkinXC: a probabilistic label tree."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.sparse import csr_matrix

from astec.loadtest.peers.tools.tool import (
    SEED,
    TEST_FEATURES,
    TOP_K,
    TRAIN_FEATURES,
    TRAIN_LABELS,
    Tool,
    rows,
    usable_cpus,
)


class NapkinXc(Tool[csr_matrix, list[list[int]]]):
    """A probabilistic label tree: the library's defaults."""

    distribution = "napkinxc"

    def load(self) -> None:
        """Load the training data in the form that the library takes."""
        self._X, self._Y = self._features(TRAIN_FEATURES), self._features(TRAIN_LABELS)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        from napkinxc.models import PLT

        PLT(str(self._model), threads=usable_cpus(), seed=SEED).fit(self._X, self._Y)

    def open(self) -> Sequence[csr_matrix]:
        """Open the model; a query is a sparse row."""
        from napkinxc.models import PLT

        self._opened = PLT(str(self._model), threads=1)
        self._opened.load()
        return rows(self._features(TEST_FEATURES))

    def ask(self, query: csr_matrix) -> list[list[int]]:
        """Return the labels of the one row."""
        answer: list[list[int]] = self._opened.predict(query, top_k=TOP_K)
        return answer

    def labels(self, answer: list[list[int]]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return answer[0]
