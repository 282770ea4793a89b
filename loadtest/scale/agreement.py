"""How far the answers of two servers to the same queries agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from astec.server.client import Ranking


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement over a number of queries.

    Attributes:
        queries: the number of queries.
        same_rankings: the queries with the same labels in the same order.
        same_first: the queries with the same first label, or with none.
        overlap: the share of the labels of an answer that the other one has too, the mean over the queries.
        score_difference: the largest difference between the scores of a label that both answers have.
    """

    queries: int
    same_rankings: int
    same_first: int
    overlap: float
    score_difference: float

    @classmethod
    def of(cls, expected: Sequence[Ranking], found: Sequence[Ranking]) -> Agreement:
        """Compare the answers to the same queries, at least one."""
        pairs = list(zip(map(_scores, expected), map(_scores, found), strict=True))
        return cls(
            queries=len(pairs),
            same_rankings=sum(list(one) == list(other) for one, other in pairs),
            same_first=sum(list(one)[:1] == list(other)[:1] for one, other in pairs),
            overlap=fmean(_overlap(one, other) for one, other in pairs),
            score_difference=max(
                (abs(one[label] - other[label]) for one, other in pairs for label in one.keys() & other.keys()),
                default=0.0,
            ),
        )


def _scores(ranking: Ranking) -> dict[str, float]:
    return {prediction.label: prediction.score for prediction in ranking}


def _overlap(one: dict[str, float], other: dict[str, float]) -> float:
    longer = max(len(one), len(other))
    return len(one.keys() & other.keys()) / longer if longer else 1.0
