"""The population stability index (PSI), which says how far the queries of now are from held-out texts.

Shapes: B bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MIN_QUERIES = 500
"""The fewest queries in a window for which there is an index: that of fewer would be mostly chance."""

_SMOOTHING = 0.5
"""What every bin counts more, so that an empty one does not make the index infinite."""


def population_stability_index(expected_B: Sequence[float], observed_B: Sequence[float]) -> float:
    """Return the sum over all bins of (q - p) ln(q / p), where p and q are the shares of two histograms in the bin.

    It is 0 for equal shares and never negative. Below 0.1 is usual; above 0.25 the two are taken for different.

    Args:
        expected_B: The counts of the histogram to compare with.
        observed_B: The counts of the other one, in the same bins; they need not be whole.
    """
    total = 0.0
    for p, q in zip(_shares(expected_B), _shares(observed_B), strict=True):
        total += (q - p) * math.log(q / p)
    return total


def _shares(counts_B: Sequence[float]) -> list[float]:
    smoothed = [count + _SMOOTHING for count in counts_B]
    whole = math.fsum(smoothed)
    return [count / whole for count in smoothed]
