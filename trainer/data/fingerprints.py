"""Hashes of bags, by which equal bags are found among many.

Shapes: N bags.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.bags import Bags

# The constants of splitmix64 (Steele, Lea and Flood, 2014).
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def fingerprints(bags: Bags) -> NDArray[np.uint64]:
    """Return a hash of each bag, uint64 [N]: the same for equal bags, and almost never the same for others."""
    mixed = bags.ids.astype(np.uint64) << np.uint64(32) | bags.weights.view(np.uint32)
    for shift, factor in _MIXING:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)])
    fingerprints_N: NDArray[np.uint64] = sums[bags.offsets[1:]] - sums[bags.offsets[:-1]]
    return fingerprints_N
