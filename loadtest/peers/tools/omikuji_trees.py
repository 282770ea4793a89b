"""omikuji: label trees with linear classifiers, set up as Parabel and as Bonsai."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from scipy.sparse import csr_matrix

from astec.loadtest.peers.tools.tool import (
    FEATURIZER,
    TEST_FEATURES,
    TOP_K,
    TRAIN_FEATURES,
    TRAIN_LABELS,
    TextTool,
    usable_cpus,
)

if TYPE_CHECKING:
    from astec.export.artifact.text.featurizer import Featurizer


class OmikujiParabel(TextTool[list[tuple[int, float]], list[tuple[int, float]]]):
    """Three balanced binary label trees: the library's defaults."""

    distribution = "omikuji"
    changes: ClassVar[dict[str, int | bool]] = {}

    def load(self) -> None:
        """Write the training data in the XC repository's format, the only one that the library reads.

        It refuses a line that ends with a space, so a text without any known token is its labels alone.
        """
        features_NV, labels_NL = self._features(TRAIN_FEATURES), self._features(TRAIN_LABELS)
        self._file = self._data / "train.xc.txt"
        with self._file.open("w") as stream:
            print(*features_NV.shape, labels_NL.shape[1], file=stream)
            for row in range(len(features_NV.indptr) - 1):
                pairs = (f"{feature}:{weight:.7g}" for feature, weight in _pairs(features_NV, row))
                print(",".join(str(label) for label, _ in _pairs(labels_NL, row)), *pairs, file=stream)

    def train(self) -> None:
        """Train on all CPUs and write the model to disk."""
        import omikuji

        settings = omikuji.Model.default_hyper_param()
        for name, value in self.changes.items():
            setattr(settings, name, value)
        model = omikuji.Model.train_on_data(str(self._file), settings, usable_cpus())
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


def _pairs(matrix: csr_matrix, row: int) -> list[tuple[int, float]]:
    inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return list(zip(matrix.indices[inside].tolist(), matrix.data[inside].tolist(), strict=True))
