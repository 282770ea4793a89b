"""Fewer dimensions for the indices: the directions in which unit representations differ most (PCA without centring).

Not centred, so that a text without a known token stays a zero vector and the encoder needs no offset.

Shapes: N vectors, D dimensions, d of the projection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHUNK = 65_536


def principal_directions(units_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """All principal directions as columns [D, D], the strongest first: the first d of them are the projection to d.

    The sign of each is fixed, so that the same vectors give the same directions everywhere.
    """
    dim = units_ND.shape[1]
    moments_DD = np.zeros((dim, dim))
    for begin in range(0, len(units_ND), _CHUNK):
        chunk = units_ND[begin : begin + _CHUNK]
        moments_DD += chunk.T @ chunk
    _, ascending_DD = np.linalg.eigh(moments_DD)
    directions_DD = ascending_DD[:, ::-1]
    largest_D = np.abs(directions_DD).argmax(axis=0)
    signs_D = np.sign(directions_DD[largest_D, np.arange(dim)])
    return np.ascontiguousarray(directions_DD * signs_D, np.float32)
