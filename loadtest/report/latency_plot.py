"""The plot of latency over time."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from astec.loadtest.generator.connection import OK
from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.report.report import counted


def draw_latency_over_time(measured: Measurement, title: str, path: Path) -> None:
    """Write a PNG of the p50 and p99 of the requests due in each second, and of the answers in each second.

    Raises:
        OSError: the file cannot be written.
    """
    num_seconds = max(1, int(np.ceil(measured.window_s)))
    seconds = np.arange(num_seconds)
    figure = Figure(figsize=(10, 6), layout="constrained")
    latency, throughput = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name, percentile in (("p50", 50.0), ("p99", 99.0)):
        latency.plot(seconds, _percentile_ms_per_second(measured, percentile, num_seconds), marker=".", label=name)
    latency.set(ylabel="latency [ms]", ylim=(0, None), title=title)
    latency.legend()
    answered = measured.kinds == OK
    arrived_s = (measured.due_s + measured.latency_s)[answered]
    throughput.bar(seconds, np.histogram(arrived_s, bins=np.arange(num_seconds + 1))[0], width=0.9)
    throughput.set(ylabel="answers per second", xlabel="seconds since the warm-up")
    figure.savefig(path, format="png", dpi=120)


def _percentile_ms_per_second(measured: Measurement, percentile: float, num_seconds: int) -> NDArray[np.float64]:
    """Return a percentile of the requests due in each second, NaN (a gap) where there are none: [num_seconds]."""
    kept = counted(measured)
    second, latency_s = measured.due_s[kept].astype(np.int64), measured.latency_s[kept]
    per_second = (latency_s[second == number] for number in range(num_seconds))
    return np.array(
        [np.percentile(some, percentile, method="inverted_cdf") * 1e3 if len(some) else np.nan for some in per_second]
    )
