"""Faults of a running server: killed workers, and restarts of all workers."""

from __future__ import annotations

import asyncio
import os
import random
import signal

from astec.loadtest.bench.serving import Served
from astec.loadtest.soak.tally import Tally

_REPLACED_WITHIN_S = 60.0
_LOOK_S = 0.02


async def kill_workers(server: Served, tally: Tally, every_s: float, seed: int) -> None:
    """Kill a worker about every `every_s` seconds until cancelled; each kill waits until the last one is replaced."""
    generator = random.Random(seed)
    count = len(server.workers())  # there are more while workers are replaced one by one
    while True:
        await asyncio.sleep(every_s)
        victim = generator.choice(server.workers())
        tally.note_kill()
        os.kill(victim, signal.SIGKILL)
        tally.not_replaced += not await _is_replaced(server, tally, victim, count)


async def reload(server: Served, tally: Tally, every_s: float) -> None:
    """Ask the server every `every_s` seconds to replace its workers one by one, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        tally.reloads += 1
        os.kill(server.pid, signal.SIGHUP)


async def _is_replaced(server: Served, tally: Tally, victim: int, count: int) -> bool:
    gone = False
    for _ in range(round(_REPLACED_WITHIN_S / _LOOK_S)):
        now = server.workers()
        if victim not in now and not gone:
            gone = True
            tally.note_gone()
        if gone and len(now) >= count:
            return True
        await asyncio.sleep(_LOOK_S)
    return False
