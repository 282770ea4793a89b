"""Load on servers that stand side by side, each in turn, so that the machine's moods meet all of them alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean

from astec.export.artifact.text.bags import Query
from astec.export.console import console
from astec.loadtest.bench.in_process import TOP_K
from astec.loadtest.generator.client import open_client
from astec.loadtest.generator.loops import measure_load
from astec.loadtest.generator.plan import LoadPlan
from astec.loadtest.generator.queries import QueryMix, encode_request
from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.report.report import Report, build_report

CONNECTIONS = 32
_SIZED_ANSWERS = 100
_MOST_P99_GROWTH = 3.0
_LEAST_ACHIEVED = 0.99


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and what it is asked; popularity falls with the exponent `zipf`, 0 favours no query."""

    name: str
    url: str
    queries: Sequence[Query]
    zipf: float = 0.0

    def bodies(self) -> Iterator[bytes]:
        """Requests without end."""
        mix = QueryMix(self.queries, seed=0, zipf_exponent=self.zipf, odd_share=0.0)
        return (encode_request(query, TOP_K) for query in mix)


@dataclass(frozen=True, slots=True)
class Load:
    """A load and what came of it."""

    name: str
    report: Report
    measured: Measurement


def answer_bytes(contender: Contender) -> int:
    """The mean size of its answers' bodies."""
    plan = LoadPlan(contender.url, None, 1, 1.0)

    async def ask_some() -> list[int]:
        async with open_client(plan) as client:
            return [len((await client.ask(body)).detail) for body in islice(contender.bodies(), _SIZED_ANSWERS)]

    return round(mean(asyncio.run(ask_some())))


def load(contender: Contender, seconds: float, *, rate: float | None = None, clients: int | None = None) -> Load:
    """Put one load on one server: an open loop at `rate` per second, or a closed one of `clients`."""
    plan = LoadPlan(contender.url, rate, clients, seconds, warmup_s=min(1.0, seconds / 4))
    how = f"{clients} connections" if rate is None else f"{rate:.0f}/s"
    console.print(f"{contender.name}: {how} for {seconds:g} s", markup=False)
    measured = measure_load(plan, contender.bodies())
    if measured.interrupted:
        raise KeyboardInterrupt  # which `run_load` has taken for itself, to end in order
    return Load(contender.name, build_report(plan, measured), measured)


def compare(contenders: Sequence[Contender], rounds: int, seconds: float, clients: int) -> dict[str, Load]:
    """Closed loops on each in turn, `rounds` times; of each the round with the median rate."""
    loads = [[load(contender, seconds, clients=clients) for contender in contenders] for _ in range(rounds)]
    return {
        contender.name: sorted(column, key=lambda one: one.report.achieved_rate)[len(column) // 2]
        for contender, column in zip(contenders, zip(*loads, strict=True), strict=True)
    }


def knee(curve: Sequence[Report]) -> Report | None:
    """The highest rate before the first that is not kept, or whose p99 is over three times that of the lowest."""
    kept = None
    for report in curve:
        lowest, p99 = curve[0].latency_ms["p99"], report.latency_ms["p99"]
        if lowest is None or p99 is None or p99 > _MOST_P99_GROWTH * lowest:
            break
        if (report.achieved_share or 0.0) < _LEAST_ACHIEVED:
            break
        kept = report
    return kept
