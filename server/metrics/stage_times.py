"""The stage times of a batch."""

from __future__ import annotations

from typing import NamedTuple


class StageTimes(NamedTuple):
    """The seconds that a batch spent in each stage of a prediction."""

    featurize_s: float
    encode_s: float
    shortlist_s: float
    score_s: float
