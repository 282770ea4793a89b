"""How load is put on the server: open loop, closed loop, and the run around them."""

import asyncio
import time
from collections.abc import Iterator

from loadtest.client import CONNECTION, Answer, Client, open_client
from loadtest.pacer import Pacer
from loadtest.plan import LoadPlan
from loadtest.recorder import NOT_SENT, Measurement, Recorder

# A refused connection fails at once: without a pause a closed loop would count thousands of errors per second.
_PAUSE_AFTER_CONNECTION_ERROR_S = 0.05


async def run_load(plan: LoadPlan, bodies: Iterator[bytes]) -> Measurement:
    """Probe the server, warm it up, load it, and return what was measured.

    Ends by itself: at the latest two timeouts after the planned end. Cancelled while it loads (Ctrl-C), it returns
    what it has; requests then in flight are not counted.

    Raises:
        UnreachableError: if the server does not answer the probe.
    """
    async with open_client(plan) as client:
        await client.probe(next(bodies))
        begin_s = time.perf_counter()
        window_start_s = begin_s + plan.warmup_s
        recorder = Recorder(window_start_s, window_start_s + plan.duration_s)
        load = _Load(client, bodies, recorder, begin_s, window_start_s + plan.duration_s)
        try:
            if plan.rate_per_s is not None:
                await load.open_loop(plan.rate_per_s, plan.max_in_flight, patience_s=plan.timeout_s)
            else:
                await load.closed_loop(plan.clients or 1)
        except asyncio.CancelledError:
            return recorder.finish(interrupted=True)
        return recorder.finish(interrupted=False)


class _Load:
    def __init__(
        self, client: Client, bodies: Iterator[bytes], recorder: Recorder, begin_s: float, end_s: float
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._recorder = recorder
        self._begin_s = begin_s
        self._end_s = end_s

    async def open_loop(self, rate_per_s: float, max_in_flight: int, patience_s: float) -> None:
        """Send at a constant rate, whatever the answers do.

        A request is timed from when it was DUE: if the server stalls, those that had to wait for a slot show it. What
        still has no slot `patience_s` after the end is recorded as not sent.
        """
        slots = asyncio.Semaphore(max_in_flight)
        give_up_s = self._end_s + patience_s
        async with asyncio.TaskGroup() as in_flight:
            with Pacer(self._begin_s, self._end_s, rate_per_s) as pacer:
                while (due_s := await pacer.next_due_s()) is not None:
                    if await _acquire(slots, give_up_s):
                        in_flight.create_task(self._send(due_s)).add_done_callback(lambda _: slots.release())
                    else:
                        self._recorder.add(due_s, time.perf_counter(), Answer(NOT_SENT))

    async def closed_loop(self, clients: int) -> None:
        """Let each client send its next query when its last is answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._send_one_after_another())

    async def _send_one_after_another(self) -> None:
        while (now_s := time.perf_counter()) < self._end_s:
            answer = await self._send(now_s)
            if answer.kind == CONNECTION:
                await asyncio.sleep(_PAUSE_AFTER_CONNECTION_ERROR_S)

    async def _send(self, due_s: float) -> Answer:
        sent_s = time.perf_counter()
        answer = await self._client.predict(next(self._bodies))
        self._recorder.add(due_s, sent_s, answer)
        return answer


async def _acquire(slots: asyncio.Semaphore, give_up_s: float) -> bool:
    """Take a slot before the time `give_up_s` of `time.perf_counter`."""
    remaining_s = give_up_s - time.perf_counter()
    if remaining_s <= 0:
        return False
    if not slots.locked():  # the usual case, without the cost of a timer
        return await slots.acquire()
    try:
        async with asyncio.timeout(remaining_s):
            return await slots.acquire()
    except TimeoutError:
        return False
