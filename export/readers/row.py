"""A training or test example."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from astec.export.artifact.text.bags import Query
from astec.export.readers.errors import BadLineError

LEAST_WEIGHT: Final = 1e-15
MOST_WEIGHT: Final = 1e15


class Row(NamedTuple):
    """A query and its relevant labels.

    Attributes:
        query: a text, or a Bag in the pre-featurised formats.
        labels: label texts, each once, in the order of the file; may be empty.
        weights: the weight of each label, such as its clicks, finite and above 0; None: all are 1.
    """

    query: Query
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None


def distinct_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Strip the labels and drop empty and repeated ones; the order is kept."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, labels))))


def weighted_labels(
    labels: Iterable[str], weights: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """Strip the labels and drop empty ones, in their order; the weights of a label that is repeated are added up.

    Args:
        labels: the labels of a row.
        weights: of each label, as `check_weight` returns them.

    Returns:
        The labels and weights of a `Row`.
    """
    sums: dict[str, float] = {}
    for label, weight in zip(map(str.strip, labels), weights, strict=True):
        if label:
            sums[label] = sums.get(label, 0.0) + weight
    return tuple(sums), tuple_of_weights(sums.values())


def tuple_of_weights(weights: Iterable[float]) -> tuple[float, ...] | None:
    """Return the weights of a row; None where all are 1."""
    kept = tuple(weights)
    return None if all(weight == 1 for weight in kept) else kept


def check_weight(weight: float, what: str) -> float:
    """Return a weight as a float.

    Args:
        weight: a number of clicks, or the like.
        what: names it in the message, for example `"clicks"`.

    Raises:
        BadLineError: it is not finite, not above 0, or too small or large to be added up with others.
    """
    if not math.isfinite(weight) or weight <= 0:
        raise BadLineError(f"{what} is {weight}; a weight is a finite number above 0 (leave out pairs without a click)")
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise BadLineError(f"{what} is {weight:g}; a weight is between {LEAST_WEIGHT:g} and {MOST_WEIGHT:g}")
    return float(weight)
