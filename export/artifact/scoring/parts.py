"""The parts of the scores of many candidates at once, for the trainer to choose their weights by.

Shapes: C candidates of all texts together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.scoring.formula import sigmoid, sparse_probability, weighted
from astec.export.artifact.scoring.shares import PartWeights


@dataclass(frozen=True, slots=True)
class Parts:
    """The logit that each part of a score gives to each candidate, float32 [C]; None: the model lacks the part.

    They do not depend on the weights: computed once, they serve all trials of a search for the best weights.
    """

    classifier: NDArray[np.float32]
    similarity: NDArray[np.float32]
    votes: NDArray[np.float32]
    sparse: NDArray[np.float32] | None = None
    reranker: NDArray[np.float32] | None = None

    def probabilities(self) -> Parts:
        """Return the probability that each part gives to each candidate."""
        return replace(
            self,
            classifier=sigmoids(self.classifier),
            similarity=sigmoids(self.similarity),
            sparse=None if self.sparse is None else _sparse_probabilities(self.sparse),
            reranker=None if self.reranker is None else sigmoids(self.reranker),
        )

    def scores(self, weights: PartWeights) -> NDArray[np.float32]:
        """Return the scores of the candidates, float32 [C]; unless logits are weighed, of their probabilities."""
        if not weights.as_logits:
            return self.probabilities().sums(weights)
        return sigmoids(self.sums(weights) + np.float32(weights.bias))

    def sums(self, weights: PartWeights) -> NDArray[np.float32]:
        """Return the weighted sums of what is held here, float32 [C]."""
        absent_C = np.zeros_like(self.votes)
        return _weigh(
            self.classifier,
            self.similarity,
            absent_C if self.sparse is None else self.sparse,
            self.votes,
            absent_C if self.reranker is None else self.reranker,
            *weights.parts().values(),
        )


@njit(cache=True, nogil=True, fastmath=True)
def sigmoids(x_C: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of logits or similarities, float32 [C]."""
    probabilities_C = np.empty_like(x_C)
    for candidate in range(len(x_C)):
        probabilities_C[candidate] = sigmoid(x_C[candidate])
    return probabilities_C


@njit(cache=True, nogil=True, fastmath=True)
def _sparse_probabilities(logits_C: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the sparse term's logits, float32 [C]."""
    probabilities_C = np.empty_like(logits_C)
    for candidate in range(len(logits_C)):
        probabilities_C[candidate] = sparse_probability(logits_C[candidate])
    return probabilities_C


@njit(cache=True, nogil=True, fastmath=True)
def _weigh(
    classifier_C: NDArray[np.float32],
    similarity_C: NDArray[np.float32],
    sparse_C: NDArray[np.float32],
    votes_C: NDArray[np.float32],
    reranker_C: NDArray[np.float32],
    classifier_weight: float,
    similarity_weight: float,
    sparse_weight: float,
    votes_weight: float,
    reranker_weight: float,
) -> NDArray[np.float32]:
    scores_C = np.empty_like(votes_C)
    for candidate in range(len(votes_C)):
        score = weighted(votes_weight, votes_C[candidate])
        score += weighted(classifier_weight, classifier_C[candidate])
        score += weighted(similarity_weight, similarity_C[candidate])
        score += weighted(sparse_weight, sparse_C[candidate])
        score += weighted(reranker_weight, reranker_C[candidate])
        scores_C[candidate] = score
    return scores_C
