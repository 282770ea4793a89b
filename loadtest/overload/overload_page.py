"""The page of a server under rising load: its table in Markdown, and a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from astec.loadtest.overload.steps import Overload, Step
from astec.loadtest.report.markdown import table

_MIB = 1 << 20
_COLUMNS = (
    *("offered", "offered/s", "goodput/s", "429", "504", "200 too late", "not sent", "other errors"),
    *("p50 [ms]", "p99 [ms]", "largest RSS [MiB]", "sum of PSS [MiB]", "generator's CPU"),
)


def to_markdown(overload: Overload) -> str:
    """Return a table with a row for each multiple; latencies are those of the requests answered 200."""
    memory = overload.memory
    before = f"; the workers held {_mib(memory.pss_bytes)} MiB (PSS) before" if memory else ""
    parts = [
        f"Saturation: {overload.saturation_per_s:,.0f} answers a second to an open loop "
        f"({overload.closed_per_s:,.0f} to a closed one){before}.",
        table(_COLUMNS, map(_cells, overload.steps)),
    ]
    if overload.kept_share is not None:
        parts.append(f"Goodput at {overload.steps[-1].multiple:g}x is {overload.kept_share:.0%} of that at 1x.")
    return "\n\n".join(parts) + "\n"


def draw(overload: Overload, path: Path) -> None:
    """Write a PNG of the outcome of requests per second, and of the p99 of accepted requests, against the offered rate.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(9, 7), layout="constrained")
    rates, latency = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    steps = overload.steps
    offered = [step.offered_per_s for step in steps]
    goodput = [step.goodput_per_s for step in steps]
    rates.plot(offered, offered, color="grey", linestyle=":", label="offered")
    rates.plot(offered, goodput, marker="o", label="goodput: 200 within the deadline")
    rates.plot(offered, [step.queue_full / step.window_s for step in steps], marker=".", label="429")
    rates.plot(offered, [step.expired / step.window_s for step in steps], marker=".", label="504")
    rates.axvline(overload.saturation_per_s, color="grey", linestyle="--", label="saturation")
    rates.set(ylabel="requests per second", ylim=(0, None))
    rates.legend()
    p99_ms = [step.accepted_ms[1] if step.accepted_ms else float("nan") for step in steps]
    latency.plot(offered, p99_ms, marker="o")
    latency.set(
        xlabel="requests per second, offered", ylabel="p99 of the accepted [ms]", xlim=(0, None), ylim=(0, None)
    )
    figure.savefig(path, format="png", dpi=120)


def _cells(step: Step) -> list[str]:
    p50_ms, p99_ms = (f"{value:.1f}" for value in step.accepted_ms) if step.accepted_ms else ("-", "-")
    memory = step.memory
    return [
        f"{step.multiple:g}x",
        *(f"{rate:,.0f}" for rate in (step.offered_per_s, step.goodput_per_s)),
        *(f"{count:,}" for count in (step.queue_full, step.expired, step.late, step.not_sent, step.errors)),
        p50_ms,
        p99_ms,
        _mib(memory.rss_bytes) if memory else "-",
        _mib(memory.pss_bytes) if memory else "-",
        f"{step.generator_cpu:.0%}",
    ]


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / _MIB:.0f}"
