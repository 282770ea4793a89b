"""Where the slowest requests of a run spend their time, against the median request.

Shapes: S requests of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.loadtest.generator.server_timing import SampledRequests
from astec.loadtest.report.markdown import table

_SLOWEST_SHARE: Final = 0.01
_MIDDLE: Final = (45.0, 55.0)
"""The percentiles between which a request counts as median: a single request would be a matter of chance."""
_LEAST_SAMPLED: Final = 100
LATE, OUTSIDE, WHOLE = "sent late by the generator", "outside the stages", "from due to answered"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the latency: the mean milliseconds of the median requests, and of the slowest."""

    name: str
    median_ms: float
    slowest_ms: float


def latency_parts(sampled: SampledRequests) -> list[Part]:
    """Divide the latency of the median and of the slowest 1% of the requests into parts; the last part is the whole.

    The parts are the delay of sending, the stages that the server names, and what is outside them: sockets, event
    loops, parsing, and waiting for a CPU on either side. Requests whose response names no stage do not count. Empty
    where fewer than a hundred requests count.
    """
    if not sampled.stages_ms:
        return []
    named_S = ~np.all([np.isnan(durations) for durations in sampled.stages_ms.values()], axis=0)
    latency_ms = 1e3 * sampled.latency_s[named_S]
    if len(latency_ms) < _LEAST_SAMPLED:
        return []
    low_ms, high_ms, slow_ms = np.percentile(latency_ms, [*_MIDDLE, 100 * (1 - _SLOWEST_SHARE)])
    median_S, slowest_S = (latency_ms >= low_ms) & (latency_ms <= high_ms), latency_ms >= slow_ms
    inside = {LATE: 1e3 * sampled.lag_s[named_S]}
    inside |= {stage: np.nan_to_num(durations[named_S]) for stage, durations in sampled.stages_ms.items()}
    parts = inside | {OUTSIDE: latency_ms - np.sum(list(inside.values()), axis=0), WHOLE: latency_ms}
    return [Part(name, _mean(times, median_S), _mean(times, slowest_S)) for name, times in parts.items()]


def parts_table(parts: Sequence[Part]) -> str:
    """Return the parts as a Markdown table, with the share of each in what makes the slowest slower."""
    slower_ms = parts[-1].slowest_ms - parts[-1].median_ms
    rows = [
        [
            part.name,
            f"{part.median_ms:.3f}",
            f"{part.slowest_ms:.3f}",
            f"{part.slowest_ms - part.median_ms:.3f}",
            f"{(part.slowest_ms - part.median_ms) / slower_ms:.0%}" if slower_ms > 0 else "-",
        ]
        for part in parts
    ]
    return table(["part", "median request, ms", "slowest 1%, ms", "difference, ms", "of the difference"], rows)


def _mean(times_ms: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(times_ms[chosen].mean())
