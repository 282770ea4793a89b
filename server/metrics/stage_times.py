"""Stage times of a batch."""

from __future__ import annotations

from typing import NamedTuple


class StageTimes(NamedTuple):
    """Seconds that a batch spent in each stage."""

    featurize_s: float
    encode_s: float
    shortlist_s: float
    score_s: float
