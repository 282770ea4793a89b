"""How far two rankings of the same query agree."""

from __future__ import annotations

from collections.abc import Sequence


def overlap_at(ranks: int, answered: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of the first labels that two rankings have in common, whatever their order, between 0 and 1.

    The share is of the longer of the two, so that a label that only one of them has counts as a difference. Two
    rankings without a label agree.

    Args:
        ranks: How many first labels are compared.
        answered: The texts of one ranking, best first; label ids differ from model to model.
        other: Those of the other ranking.
    """
    first, second = set(answered[:ranks]), set(other[:ranks])
    longer = max(len(first), len(second))
    return len(first & second) / longer if longer else 1.0
