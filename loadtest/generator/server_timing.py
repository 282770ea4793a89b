"""The durations of a server's stages, from the header `Server-Timing` of its responses."""

from __future__ import annotations

from array import array
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT = 1 << 14


class TimingSample:
    """A sample of the headers of a run, parsed at its end.

    In a long run the sample is thinned out evenly, so that it takes no more memory than in a short one.
    """

    def __init__(self) -> None:
        self._headers: list[bytes] = []
        self._seen = 0
        self._stride = 1

    def add(self, header: bytes) -> None:
        """Add the next header, or skip it."""
        if self._seen % self._stride == 0:
            self._headers.append(header)
            if len(self._headers) == _MOST_KEPT:
                del self._headers[1::2]
                self._stride *= 2
        self._seen += 1

    def stages_ms(self) -> dict[str, NDArray[np.float64]]:
        """Return the durations in ms by stage, from the headers that name the stage."""
        durations: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for header in self._headers:
            for stage, duration_ms in parse_server_timing(header.decode("latin-1")).items():
                durations[stage].append(duration_ms)
        return {stage: np.array(values) for stage, values in durations.items()}


def parse_server_timing(header: str) -> dict[str, float]:
    """Return the durations in ms by metric name; a metric without a valid duration is left out."""
    stages_ms = {}
    for metric in header.split(","):
        name, _, parameters = metric.strip().partition(";")
        for parameter in parameters.split(";"):
            key, _, value = parameter.strip().partition("=")
            try:
                if key == "dur":
                    stages_ms[name] = float(value)
            except ValueError:
                continue
    return stages_ms
