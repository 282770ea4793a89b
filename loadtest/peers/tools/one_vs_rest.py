"""One linear SVM for each label against all other texts, pruned, as in DiSMEC (Babbar and Schölkopf, WSDM 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import csr_matrix, load_npz, save_npz, vstack

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

_PRUNE_BELOW = 0.01  # DiSMEC's Delta
_TOLERANCE = 0.01
WEIGHTS_FILE, BIASES_FILE = "weights.npz", "biases.npy"


class OneVsRest(Tool[csr_matrix, tuple[list[int], list[float]]]):
    """DiSMEC's classifiers by liblinear: squared hinge loss, C = 1, weights below 0.01 dropped."""

    distribution = "scikit-learn"

    def load(self) -> None:
        """Load the training data in the form that the library takes."""
        self._X = self._features(TRAIN_FEATURES).astype(np.float64)
        self._texts_of_LN = self._features(TRAIN_LABELS).T.tocsr()

    def train(self) -> None:
        """Train on all CPUs, a thread for each, and write the model to disk."""
        with ThreadPoolExecutor(usable_cpus()) as pool:
            learnt = list(pool.map(self._learn, range(self._texts_of_LN.shape[0])))
        self._model.mkdir()
        save_npz(self._model / WEIGHTS_FILE, vstack([weights_1V for weights_1V, _ in learnt]).T.tocsr())
        np.save(self._model / BIASES_FILE, np.array([bias for _, bias in learnt]))

    def open(self) -> Sequence[csr_matrix]:
        """Open the model; a query is a sparse row."""
        self._weights_VL = load_npz(self._model / WEIGHTS_FILE).tocsr()
        self._biases_L = np.load(self._model / BIASES_FILE)
        return rows(self._features(TEST_FEATURES))

    def ask(self, query: csr_matrix) -> tuple[list[int], list[float]]:
        """Return the labels and their scores, best first."""
        scores_L = self._biases_L + (query @ self._weights_VL).toarray()[0]
        count = min(TOP_K, len(scores_L))
        best = np.argpartition(-scores_L, count - 1)[:count]
        best = best[np.argsort(-scores_L[best], kind="stable")]
        return best.tolist(), scores_L[best].tolist()

    def labels(self, answer: tuple[list[int], list[float]]) -> list[int]:
        """Return the label ids of an answer, best first."""
        return answer[0]

    def _learn(self, label: int) -> tuple[csr_matrix, float]:
        """Return the pruned weights of a label's classifier, sparse [1, V], and its bias."""
        from sklearn.svm import LinearSVC

        begin, end = self._texts_of_LN.indptr[label : label + 2]
        is_positive_N = np.zeros(self._X.shape[0], np.bool_)
        is_positive_N[self._texts_of_LN.indices[begin:end]] = True
        num_features = self._X.shape[1]
        if is_positive_N.all() or not is_positive_N.any():  # nothing to tell apart
            return csr_matrix((1, num_features)), 1.0 if is_positive_N.all() else -1.0
        svm = LinearSVC(C=1.0, tol=_TOLERANCE, random_state=SEED).fit(self._X, is_positive_N)
        weights_V = np.where(np.abs(svm.coef_[0]) < _PRUNE_BELOW, 0.0, svm.coef_[0])
        return csr_matrix(weights_V), float(svm.intercept_[0])
