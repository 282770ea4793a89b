"""Figures of rounds, in which everything that is compared has its turn: medians, and medians of ratios."""

from __future__ import annotations

from statistics import median

from astec.loadtest.bench.in_process import PERCENTILES

Rounds = list[list[float]]
"""A list for each round: the figures of `PERCENTILES`."""


def growth(first: Rounds, other: Rounds, percentile: int) -> float:
    """Return how many times as long the other takes: the median of the ratios of each round."""
    column = PERCENTILES.index(percentile)
    return median(longer[column] / shorter[column] for shorter, longer in zip(first, other, strict=True))


def over_rounds(figures: Rounds, percentile: int) -> float:
    """Return the median over the rounds of a percentile."""
    return median(of_round[PERCENTILES.index(percentile)] for of_round in figures)
