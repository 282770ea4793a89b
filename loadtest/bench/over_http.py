"""Load on several servers of one machine, each in turn, so that the machine's noise affects all of them alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean

from astec.export.artifact.text.bags import Query
from astec.export.console import console
from astec.loadtest.bench.in_process import TOP_K
from astec.loadtest.generator.client import open_client
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.loops import measure_load
from astec.loadtest.generator.queries import QueryMix, encode_request
from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.report.report import Report, build_report

CONNECTIONS = 32
_SIZED_ANSWERS = 100
_MOST_P99_GROWTH = 3.0
_LEAST_ACHIEVED = 0.99


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A server that is measured, and the queries that it is asked.

    The popularity of the queries follows Zipf's law with the exponent `zipf`; with 0 all are equally popular. `encode`
    builds the body of a request from a query and the number of labels to ask for.
    """

    name: str
    url: str
    queries: Sequence[Query]
    zipf: float = 0.0
    encode: Callable[[Query, int], bytes] = encode_request

    def bodies(self) -> Iterator[bytes]:
        """Return an endless stream of request bodies."""
        mix = QueryMix(self.queries, seed=0, zipf_exponent=self.zipf, odd_share=0.0)
        return (self.encode(query, TOP_K) for query in mix)


@dataclass(frozen=True, slots=True)
class Load:
    """The report and the measurement of one load on the server `name`."""

    name: str
    report: Report
    measured: Measurement


def answer_bytes(server: ServerUnderTest) -> int:
    """Return the mean size of the response bodies of a server."""
    plan = LoadPlan(server.url, None, 1, 1.0)

    async def ask_some() -> list[int]:
        async with open_client(plan) as client:
            return [len((await client.ask(body)).detail) for body in islice(server.bodies(), _SIZED_ANSWERS)]

    return round(mean(asyncio.run(ask_some())))


def load(server: ServerUnderTest, seconds: float, *, rate: float | None = None, clients: int | None = None) -> Load:
    """Put one load on one server: an open loop at `rate` per second, or a closed loop of `clients`."""
    plan = LoadPlan(server.url, rate, clients, seconds, warmup_s=min(1.0, seconds / 4))
    how = f"{clients} connections" if rate is None else f"{rate:.0f}/s"
    console.print(f"{server.name}: {how} for {seconds:g} s", markup=False)
    measured = measure_load(plan, server.bodies())
    if measured.interrupted:
        raise KeyboardInterrupt  # `run_load` catches it to end in order, so it is raised again here
    return Load(server.name, build_report(plan, measured), measured)


def compare(servers: Sequence[ServerUnderTest], rounds: int, seconds: float, clients: int) -> dict[str, Load]:
    """Put closed loops on each server in turn, `rounds` times; return for each the round with the median rate."""
    loads = [[load(server, seconds, clients=clients) for server in servers] for _ in range(rounds)]
    return {server.name: median_load(column) for server, column in zip(servers, zip(*loads, strict=True), strict=True)}


def median_load(loads: Sequence[Load]) -> Load:
    """Return the load with the median rate; of an even number, the faster of the two in the middle."""
    return sorted(loads, key=lambda one: one.report.achieved_rate)[len(loads) // 2]


def knee(curve: Sequence[Report]) -> Report | None:
    """Return the last report of a curve of rising rates before latency degrades; None where there is none.

    Latency has degraded where p99 is over three times that of the lowest rate, or where less than 99% of the rate is
    achieved.
    """
    kept = None
    for report in curve:
        lowest, p99 = curve[0].latency_ms["p99"], report.latency_ms["p99"]
        if lowest is None or p99 is None or p99 > _MOST_P99_GROWTH * lowest:
            break
        if (report.achieved_share or 0.0) < _LEAST_ACHIEVED:
            break
        kept = report
    return kept
