"""The page of a check: the machine, the outcome of every step, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isinf

from astec.loadtest.gpu.step import Outcome
from astec.loadtest.report.markdown import front_matter, not_measured, table

_GIB = 1 << 30
_ERROR_LINES = 20
_HEAD = ("step", "outcome", "s", "limit s", "GPU busy", "peak GPU GiB", "mean W", "peak memory GiB")


def to_markdown(stamp: str, machine: str, settings: Iterable[str], outcomes: Sequence[Outcome]) -> str:
    """Return the page.

    Args:
        stamp: UTC time of the check.
        machine: Markdown list items of the machine, the GPU and the versions.
        settings: further list items.
        outcomes: of the steps, in their order.
    """
    parts = [
        front_matter("Training on a GPU,", stamp, settings, machine),
        table(_HEAD, map(_cells, outcomes)),
        "GPU busy is the mean of nvidia-smi's utilisation, sampled twice a second: the share of the time in which any "
        "kernel ran, from the start of the process on. Peak GPU is all used memory of the GPU; peak memory is the sum "
        "of the resident memory of the step's processes.",
        *(f"## {outcome.step.name}\n\n{_section(outcome)}" for outcome in outcomes if outcome.section),
    ]
    problems = [f"{outcome.step.name}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    if problems:
        parts.append(not_measured(problems))
    return "\n\n".join(parts) + "\n"


def _cells(outcome: Outcome) -> list[str]:
    usage = outcome.usage
    return [
        outcome.step.name,
        outcome.problem.replace("|", "\\|") or "done",
        f"{outcome.seconds:.0f}",
        "the rest" if isinf(outcome.step.limit_s) else f"{outcome.step.limit_s:.0f}",
        "" if usage.busy_percent is None else f"{usage.busy_percent:.0f}%",
        _gibibytes(usage.gpu_bytes),
        "" if usage.watts is None else f"{usage.watts:.0f}",
        _gibibytes(usage.host_bytes),
    ]


def _section(outcome: Outcome) -> str:
    if not outcome.problem or not outcome.errors.strip():
        return outcome.section
    lines = "\n".join(outcome.errors.strip().splitlines()[-_ERROR_LINES:])
    return f"{outcome.section}\n\nThe end of its messages:\n\n```\n{lines}\n```"


def _gibibytes(num_bytes: float | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / _GIB:.2f}"
