"""The cost of a query in microseconds of one core, by a count of operations; only the ratios of these costs matter."""

from __future__ import annotations

from math import sqrt

from astec.export.search.plan import IndexPlan

# Visiting a candidate in a graph of _WALK_LINKS links a node costs _WALK_US for each number of its vector and for
# _WALK_NUMBERS more; reading a number in order costs _READ_US, scoring a label _LABEL_US.
_WALK_US, _WALK_NUMBERS, _WALK_LINKS, _READ_US, _LABEL_US = 0.0029, 100, 16, 6e-5, 0.15


def search_cost_us(plan: IndexPlan, dim: int, count: int) -> float:
    """Return the cost of searching an index of `count` vectors of `dim` numbers."""
    if plan.backend == "flat":
        return exact_cost_us(count * dim)
    links = sqrt(plan.params.m / _WALK_LINKS)
    return _WALK_US * plan.params.ef_search * (_WALK_NUMBERS + dim) * links


def exact_cost_us(numbers: int) -> float:
    """Return the cost of reading `numbers` numbers in order, as exact search does."""
    return _READ_US * numbers


def scoring_cost_us(labels: float) -> float:
    """Return the cost of scoring a number of labels."""
    return _LABEL_US * labels
