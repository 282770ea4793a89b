"""The shares of a score's parts, as the paper names them and as weights of a sum (paper, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from astec.export.artifact.manifest import Logistic, Scoring


class PartWeights(NamedTuple):
    """The weight of each part in a score, and what is weighed.

    Probabilities are weighed unless `as_logits`: then the parts' logits are, the score is the sigmoid of their sum and
    `bias`, and the weights need not add up to 1.
    """

    classifier: float
    similarity: float
    sparse: float
    votes: float
    reranker: float
    bias: float = 0.0
    as_logits: bool = False

    def parts(self) -> dict[str, float]:
        """Return the weight of each part by its name."""
        return {
            "classifier": self.classifier,
            "similarity": self.similarity,
            "sparse": self.sparse,
            "votes": self.votes,
            "reranker": self.reranker,
        }

    def alone(self, part: str) -> PartWeights:
        """Return the weights with 0 for all parts but one, and for the bias."""
        kept = {name: weight if name == part else 0.0 for name, weight in self.parts().items()}
        return PartWeights(
            kept["classifier"],
            kept["similarity"],
            kept["sparse"],
            kept["votes"],
            kept["reranker"],
            as_logits=self.as_logits,
        )


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a score's parts, each between 0 and 1; gamma and delta are at most 1 together.

    y = (1 - gamma - delta) * (alpha * classifier + (1 - alpha) * similarity) + gamma * sparse + delta * votes, and then
    score = (1 - beta) * y + beta * reranker. With gamma = delta = 0 this is the formula of the paper.

    With `logistic`, the same sum is taken of the parts' logits instead of their probabilities, and
    score = sigmoid(slope * sum + bias).
    """

    alpha: float
    beta: float = 0.0
    gamma: float = 0.0
    delta: float = 0.0
    logistic: Logistic | None = None

    @classmethod
    def of(cls, scoring: Scoring) -> Shares:
        """Return the shares that a manifest records."""
        return cls(scoring.alpha, scoring.beta, scoring.gamma, scoring.delta, scoring.logistic)

    @classmethod
    def of_logits(cls, weights: PartWeights) -> Shares:
        """Return the shares that multiply out to some weights of logits, at least one of them above 0."""
        slope = sum(weights.parts().values())
        dense = weights.classifier + weights.similarity
        without_reranker = dense + weights.sparse + weights.votes
        if not without_reranker:
            return cls(alpha=0.0, beta=1.0, logistic=Logistic(slope=slope, bias=weights.bias))
        gamma = weights.sparse / without_reranker
        # Without dense parts, gamma and delta are exactly 1 together: rounding must not leave a little for others.
        return cls(
            alpha=weights.classifier / dense if dense else 0.0,
            beta=weights.reranker / slope,
            gamma=gamma,
            delta=min(weights.votes / without_reranker, 1 - gamma) if dense else 1 - gamma,
            logistic=Logistic(slope=slope, bias=weights.bias),
        )

    def weights(self) -> PartWeights:
        """Return the weight of each part in the sum that the formula multiplies out to."""
        slope = 1.0 if self.logistic is None else self.logistic.slope
        without_reranker = slope * (1 - self.beta)
        dense = without_reranker * (1 - self.gamma - self.delta)
        return PartWeights(
            classifier=dense * self.alpha,
            similarity=dense * (1 - self.alpha),
            sparse=without_reranker * self.gamma,
            votes=without_reranker * self.delta,
            reranker=slope * self.beta,
            bias=0.0 if self.logistic is None else self.logistic.bias,
            as_logits=self.logistic is not None,
        )
