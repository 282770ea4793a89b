"""The histograms of the signals of held-out texts, which an artifact holds for the server to compare its queries with.

Shapes: N values, B bins.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from astec.export.artifact.manifest import Count, Frozen
from astec.export.artifact.signals.query_signals import BOUNDS, SIGNALS

SIGNALS_FILE = "signals.json"

_MAX_FILE_BYTES = 1 << 16
_MAX_BOUNDS = 64


class SignalHistogram(Frozen):
    """The histogram of a signal: the upper bounds of all bins but the last, ascending, and the texts in each bin."""

    bounds: list[float] = Field(min_length=1, max_length=_MAX_BOUNDS)
    counts: list[Count]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(f"there are {len(self.bounds)} bounds but {len(self.counts)} counts")
        if any(after <= before for before, after in pairwise(self.bounds)):
            raise ValueError("the bounds do not ascend")
        return self

    @classmethod
    def of(cls, values_N: NDArray[np.float64], bounds: tuple[float, ...]) -> SignalHistogram:
        """Count values; NaN is no value. A bound belongs to the bin below it, as in Prometheus."""
        bins = np.searchsorted(bounds, values_N[~np.isnan(values_N)], side="left")
        return cls(bounds=list(bounds), counts=np.bincount(bins, minlength=len(bounds) + 1).tolist())


Histograms = dict[Annotated[str, StringConstraints(max_length=64)], SignalHistogram]
"""The histogram of each signal by its name. Names that this version does not know are kept and not used."""

_FILE_CONTENT = TypeAdapter(Histograms)


def count_signals(signals_N3: NDArray[np.float64], min_values: int) -> Histograms:
    """Return the histograms of the signals of N queries, of those signals that have `min_values` values or more."""
    found: Histograms = {}
    for name, values_N in zip(SIGNALS, signals_N3.T, strict=True):
        if np.count_nonzero(~np.isnan(values_N)) >= min_values:
            found[name] = SignalHistogram.of(values_N, BOUNDS[name])
    return found


def save_histograms(folder: Path, histograms: Histograms) -> None:
    """Write the histograms into the folder of an artifact."""
    content = {name: histogram.model_dump(mode="json") for name, histogram in histograms.items()}
    (folder / SIGNALS_FILE).write_text(json.dumps(content, indent=2) + "\n")


def open_histograms(folder: Path) -> Histograms:
    """Read the histograms of an artifact.

    Raises:
        ValueError: the file is too large, not JSON, or holds something else.
    """
    path = folder / SIGNALS_FILE
    if (size := path.stat().st_size) > _MAX_FILE_BYTES:
        raise ValueError(f"{SIGNALS_FILE} has {size} bytes, more than {_MAX_FILE_BYTES}")
    try:
        return _FILE_CONTENT.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{SIGNALS_FILE} does not hold histograms of signals: {error}") from error
