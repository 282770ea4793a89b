"""The plots of the results page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from astec.loadtest.bench.growth import GrowthRow
from astec.loadtest.bench.over_http import knee
from astec.loadtest.report.report import Report

_PERCENTILES = ("p50", "p99", "p99.9")


def draw_latency_against_rate(curve: Sequence[Report], path: Path) -> None:
    """Write a PNG of latency percentiles against the offered rate, with the knee."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    rates = [report.asked_rate or 0.0 for report in curve]
    for name in _PERCENTILES:
        latencies = [report.latency_ms[name] for report in curve]
        axes.plot(rates, [float("nan") if value is None else value for value in latencies], marker="o", label=name)
    at = knee(curve)
    if at is not None and at.asked_rate is not None:
        axes.axvline(at.asked_rate, color="grey", linestyle="--", label=f"knee: {at.asked_rate:.0f}/s")
    axes.set(xlabel="queries per second, open loop", ylabel="latency [ms]", yscale="log", xlim=(0, None))
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def draw_growth(rows: Sequence[GrowthRow], path: Path) -> None:
    """Write a PNG of the median time of a query and of its stages against the number of labels."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    sizes = [row.num_labels for row in rows]
    axes.plot(sizes, [row.in_process.p50_us for row in rows], marker="o", label="one query")
    for stage in rows[0].in_process.stages_us:
        medians = [row.in_process.stages_us[stage][0] for row in rows]
        axes.plot(sizes, medians, marker=".", linestyle=":", label=stage)
    axes.set(xlabel="labels, and as many training points", ylabel="p50 [us]", xscale="log", ylim=(0, None))
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
