"""A training or test example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from astec.export.artifact.text.bags import Query


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its relevant labels.

    Attributes:
        query: a text, or a Bag in the pre-featurised formats.
        labels: label texts, each once, in the order of the file; may be empty.
        weights: how often each label was chosen, positive and finite, as many as labels; None where all are 1.
    """

    query: Query
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None


def distinct_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Strip the labels and drop empty and repeated ones; the order is kept."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, labels))))
