"""The durations of a server's stages, from the header `Server-Timing` of its responses.

Shapes: S requests of a sample.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT = 1 << 14


@dataclass(frozen=True, slots=True)
class SampledRequests:
    """A sample of the requests of a run.

    Attributes:
        latency_s: float64 [S], time from due to answered (or given up).
        lag_s: float64 [S], delay of sending after the request was due.
        stages_ms: float64 [S] for each stage, its duration in the server; NaN where the response does not name it.
    """

    latency_s: NDArray[np.float64]
    lag_s: NDArray[np.float64]
    stages_ms: dict[str, NDArray[np.float64]]

    def medians_ms(self) -> dict[str, float]:
        """Return the median duration of each stage, over the responses that name it."""
        return {stage: float(np.nanmedian(durations)) for stage, durations in self.stages_ms.items()}


class TimingSample:
    """Draws a sample of the requests of a run; their headers are parsed at its end.

    In a long run the sample is thinned out evenly, so that it takes no more memory than in a short one.
    """

    def __init__(self) -> None:
        self._headers: list[bytes] = []
        self._latency_s, self._lag_s = array("d"), array("d")
        self._seen = 0
        self._stride = 1

    def add(self, header: bytes, latency_s: float, lag_s: float) -> None:
        """Add the next request, or skip it."""
        if self._seen % self._stride == 0:
            self._headers.append(header)
            self._latency_s.append(latency_s)
            self._lag_s.append(lag_s)
            if len(self._headers) == _MOST_KEPT:
                del self._headers[1::2], self._latency_s[1::2], self._lag_s[1::2]
                self._stride *= 2
        self._seen += 1

    def requests(self) -> SampledRequests:
        """Return the sample."""
        parsed = [parse_server_timing(header.decode("latin-1")) for header in self._headers]
        stages = dict.fromkeys(stage for durations in parsed for stage in durations)
        return SampledRequests(
            np.array(self._latency_s),
            np.array(self._lag_s),
            {stage: np.array([durations.get(stage, np.nan) for durations in parsed]) for stage in stages},
        )


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
