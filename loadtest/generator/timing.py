"""What servers tell of their stages in the header `Server-Timing`."""

from __future__ import annotations

from array import array
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT = 1 << 14


class TimingSample:
    """Headers of a run, evenly thinned out so that a long one takes no more memory, and read only at its end."""

    def __init__(self) -> None:
        self._headers: list[bytes] = []
        self._seen = 0
        self._stride = 1

    def add(self, header: bytes) -> None:
        """Take the next header."""
        if self._seen % self._stride == 0:
            self._headers.append(header)
            if len(self._headers) == _MOST_KEPT:
                del self._headers[1::2]
                self._stride *= 2
        self._seen += 1

    def stages_ms(self) -> dict[str, NDArray[np.float64]]:
        """Durations in ms by stage, of the headers that tell it."""
        durations: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for header in self._headers:
            for stage, duration_ms in parse_server_timing(header.decode("latin-1")).items():
                durations[stage].append(duration_ms)
        return {stage: np.array(values) for stage, values in durations.items()}


def parse_server_timing(header: str) -> dict[str, float]:
    """Durations in ms by metric name; a metric without a readable duration is left out."""
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
