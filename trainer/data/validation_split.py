"""The validation split: texts that are held out of the training file.

Shapes: N texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.bags import Bags

# The constants of splitmix64 (Steele, Lea and Flood, 2014).
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def split_validation(bags: Bags, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the rows into those to learn from and at most `size` held-out rows, each ascending.

    All rows of a text are on the same side: the model would remember the answer for a held-out text that it also learnt
    from. Every distinct text is drawn with the same probability, however many rows it has, so that the held-out rows
    repeat texts as often as the file does. A text with more rows than are still to be held out is learnt from.
    """
    order = np.random.default_rng(seed).permutation(len(bags))
    drawn_N = np.empty(len(bags), np.int64)
    drawn_N[order] = np.arange(len(bags))
    _, first, text_N, counts = np.unique(
        _fingerprints(bags), return_index=True, return_inverse=True, return_counts=True
    )
    held, left = np.zeros(len(first), np.bool_), size
    # A text's turn is that of its first row in the file: having more rows does not make an early turn more likely.
    for text in np.argsort(drawn_N[first]).tolist():
        if counts[text] <= left:
            held[text], left = True, left - counts[text]
        if not left:
            break
    is_held_N = held[text_N] if held.any() else drawn_N < size
    return np.flatnonzero(~is_held_N), np.flatnonzero(is_held_N)


def _fingerprints(bags: Bags) -> NDArray[np.uint64]:
    """Return a hash of each bag, uint64 [N]: the same for equal bags, and almost never the same for others."""
    mixed = bags.ids.astype(np.uint64) << np.uint64(32) | bags.weights.view(np.uint32)
    for shift, factor in _MIXING:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)])
    fingerprints_N: NDArray[np.uint64] = sums[bags.offsets[1:]] - sums[bags.offsets[:-1]]
    return fingerprints_N
