"""Sparse bags of tokens: the bag of one query, and the bags of a batch in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows


class QueryKindError(ValueError):
    """A query that the model cannot read: a text for a model of feature ids, or unusable ids or weights."""


@dataclass(frozen=True, slots=True)
class Bag:
    """One pre-featurised query: `ids` int32 [T] and `weights` float32 [T]."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


Query = str | Bag


@dataclass(frozen=True, slots=True)
class Bags:
    """Featurised queries, one after the other: query b owns `ids[offsets[b] : offsets[b + 1]]`.

    Shapes: `ids` int32 [T], `weights` float32 [T], `offsets` int64 [B + 1]. The weights of a query have an L2 norm of
    1, unless the query is empty.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each query, int64 [B]."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Bags:
        """Return the bags of the queries `rows`, in that order."""
        positions, offsets = take_rows(self.offsets, rows)
        return Bags(self.ids[positions], self.weights[positions], offsets)


def check_bag(bag: Bag, num_features: int) -> None:
    """Raise QueryKindError unless `bag` has a finite weight for each id, and ids below `num_features`."""
    if len(bag.ids) != len(bag.weights):
        raise QueryKindError(f"there are {len(bag.ids)} ids and {len(bag.weights)} weights; give one weight per id")
    if not np.isfinite(bag.weights).all():
        raise QueryKindError("a weight is not finite as a 32-bit float; scale the weights down")
    if len(bag.ids) and not 0 <= int(bag.ids.min()) <= int(bag.ids.max()) < num_features:
        raise QueryKindError(f"feature ids must lie between 0 and {num_features - 1}")


def concatenate(first: Bags, second: Bags) -> Bags:
    """Return the bags of `first`, followed by the bags of `second`."""
    return Bags(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.weights, second.weights]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
    )


def unit_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the weights of one bag to an L2 norm of 1, float32 [T]; zeros stay zeros."""
    norm = float(np.linalg.norm(weights.astype(np.float64)))  # squares of float32 overflow
    return (weights / norm).astype(np.float32) if norm > 0 else weights
