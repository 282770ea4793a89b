"""The projection to fewer dimensions for the indices, by principal component analysis (PCA) without centring.

Without centring, a text without a known token stays a zero vector, and the encoder needs no offset.

Shapes: N vectors, D dimensions, d of the projection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHUNK = 65_536


def principal_directions(units_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all principal directions as columns [D, D], the strongest first; the first d project to d dimensions.

    The sign of each direction is fixed, so that the same vectors give the same directions on every machine.
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
