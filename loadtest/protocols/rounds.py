"""Rounds in which each way is measured in turn, so that a busy machine is as busy for one as for the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from astec.loadtest.protocols.ways import WAYS, Target
from astec.loadtest.report.markdown import table

_WARM_UP_S = 0.5


class Cost(NamedTuple):
    """The answers a second of one way, and the CPU time of the server for each, in microseconds."""

    answers_per_s: float
    cpu_us: float


def measure(
    target: Target, workers: Sequence[int], queries: Sequence[str], *, connections: int, seconds: float, rounds: int
) -> dict[str, Cost]:
    """Return the median cost of each way over all rounds.

    Args:
        target: The server.
        workers: The ids of its worker processes.
        queries: The queries to ask in turn.
        connections: Connections, and requests under way.
        seconds: Seconds of each way in each round.
        rounds: Number of rounds.

    Raises:
        WayError: A request is not answered.
    """
    found: dict[str, list[Cost]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, ask in WAYS.items():
            asyncio.run(ask(target, queries, connections, _WARM_UP_S))
            cpu_s, begun_s = _cpu_s(workers), perf_counter()
            answers = asyncio.run(ask(target, queries, connections, seconds))
            elapsed_s, used_s = perf_counter() - begun_s, _cpu_s(workers) - cpu_s
            found[name].append(Cost(answers / elapsed_s, used_s / answers * 1e6))
    return {
        name: Cost(median(cost.answers_per_s for cost in costs), median(cost.cpu_us for cost in costs))
        for name, costs in found.items()
    }


def to_markdown(costs: dict[str, Cost]) -> str:
    """Return a table of the costs, with the CPU time of each way as a multiple of the first one's."""
    first = next(iter(costs.values()))
    rows = [
        [name, f"{cost.answers_per_s:,.0f}", f"{cost.cpu_us:.0f}", f"{cost.cpu_us / first.cpu_us:.2f}"]
        for name, cost in costs.items()
    ]
    return table(["way", "answers/s", "CPU of the worker for an answer, us", "of the first"], rows)


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds that processes have used, in user and in system mode."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
