"""A soak: good requests, bad requests, kills and restarts at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from astec.export.console import console, track
from astec.loadtest.bench.serving import Served
from astec.loadtest.generator.client import Client, open_client
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.soak.attacks import attack_always, attacks
from astec.loadtest.soak.counters import watch_counters
from astec.loadtest.soak.faults import kill_workers, reload
from astec.loadtest.soak.memory import MemoryTrend, watch_memory
from astec.loadtest.soak.questions import Question
from astec.loadtest.soak.tally import Tally
from astec.loadtest.soak.users import ask_always

_USERS, _ATTACKERS = 32, 8
_TIMEOUT_S = 10.0
_WATCH_S = 1.0


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """The load and the faults of a soak.

    Attributes:
        seconds: length of the soak.
        rate_per_s: good requests per second, approximately.
        attacks_per_s: bad requests per second, approximately.
        kill_every_s, reload_every_s: seconds between two kills of a worker, and between two SIGHUP; 0: never.
        settle_s: seconds of a process's life before its memory counts.
        seed: seed of everything that is drawn at random.
    """

    seconds: float
    rate_per_s: float
    attacks_per_s: float
    kill_every_s: float
    reload_every_s: float
    settle_s: float
    seed: int


async def soak(server: Served, questions: Sequence[Question], plan: SoakPlan) -> tuple[Tally, MemoryTrend]:
    """Put load and faults on a server and count the outcomes. Requests in flight at the end do not count.

    Raises:
        UnreachableError: the server does not answer the first request.
    """
    tally, trend = Tally(), MemoryTrend(plan.settle_s)
    load = LoadPlan(server.url, None, _USERS, plan.seconds, timeout_s=_TIMEOUT_S)
    async with open_client(load) as client:
        await client.probe(questions[0].body)
        jobs = _jobs(server, client, questions, plan, tally, trend)
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await _wait(plan.seconds, tally, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return tally, trend


def _jobs(
    server: Served,
    client: Client,
    questions: Sequence[Question],
    plan: SoakPlan,
    tally: Tally,
    trend: MemoryTrend,
) -> list[Coroutine[None, None, None]]:
    """Return everything that runs at the same time: users, attackers, watchers and faults."""
    address = urlsplit(server.url)
    host, port = address.hostname or "", address.port or 80
    kinds = attacks(questions[0].body, plan.seed)
    pause_s, attack_pause_s = _USERS / plan.rate_per_s, _ATTACKERS / plan.attacks_per_s
    jobs = [ask_always(client, questions, tally, pause_s, plan.seed + user) for user in range(_USERS)]
    jobs += [
        attack_always(host, port, kinds, tally, attack_pause_s, plan.seed + number) for number in range(_ATTACKERS)
    ]
    jobs += [watch_memory(server, trend, _WATCH_S), watch_counters(server.url, tally, _WATCH_S)]
    if plan.kill_every_s:
        jobs.append(kill_workers(server, tally, plan.kill_every_s, plan.seed))
    if plan.reload_every_s:
        jobs.append(reload(server, tally, plan.reload_every_s))
    return jobs


async def _wait(seconds: float, tally: Tally, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait behind a progress bar; a task that fails ends the soak."""
    ticks = max(1, round(seconds))
    for tick in track(range(ticks), "soaking"):
        done, _ = await asyncio.wait(tasks, timeout=seconds / ticks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if tick % 60 == 59:
            console.print(f"{tick + 1} s: {tally.sent} requests, {tally.wrong} wrong, {tally.lost.total()} lost")
