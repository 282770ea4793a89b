"""The shares of a score's parts, as the paper names them and as weights of a sum (paper, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from astec.export.artifact.manifest import Scoring


class PartWeights(NamedTuple):
    """The weight of each part in a score; the weights of a model add up to 1."""

    classifier: float
    similarity: float
    sparse: float
    votes: float
    reranker: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a score's parts, each between 0 and 1; gamma and delta are at most 1 together.

    y = (1 - gamma - delta) * (alpha * classifier + (1 - alpha) * similarity) + gamma * sparse + delta * votes, and then
    score = (1 - beta) * y + beta * reranker. With gamma = delta = 0 this is the formula of the paper.
    """

    alpha: float
    beta: float = 0.0
    gamma: float = 0.0
    delta: float = 0.0

    @classmethod
    def of(cls, scoring: Scoring) -> Shares:
        """Return the shares that a manifest records."""
        return cls(scoring.alpha, scoring.beta, scoring.gamma, scoring.delta)

    def weights(self) -> PartWeights:
        """Return the weight of each part in the sum that the formula multiplies out to."""
        without_reranker = 1 - self.beta
        dense = without_reranker * (1 - self.gamma - self.delta)
        return PartWeights(
            classifier=dense * self.alpha,
            similarity=dense * (1 - self.alpha),
            sparse=without_reranker * self.gamma,
            votes=without_reranker * self.delta,
            reranker=self.beta,
        )
