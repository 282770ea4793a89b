"""The loops that put load on a server: an open loop, a closed loop, and the run around them."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Iterator
from functools import partial
from time import perf_counter

import uvloop

from astec.loadtest.generator.client import Client, open_client
from astec.loadtest.generator.connection import CONNECTION, Answer
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.pacer import Pacer
from astec.loadtest.generator.recorder import NOT_SENT, Measurement, Recorder

# A refused connection fails at once: without a pause, a closed loop would count thousands of errors per second.
_PAUSE_AFTER_CONNECTION_ERROR_S = 0.05


async def run_load(plan: LoadPlan, bodies: Iterator[bytes]) -> Measurement:
    """Probe the server, warm it up, put load on it, and return the measurement.

    The run ends at the latest two timeouts after the planned end. When it is cancelled during the load (Ctrl-C), it
    returns the measurement so far; requests then in flight are not counted.

    Raises:
        UnreachableError: the server does not answer the probe.
    """
    async with open_client(plan) as client:
        await client.probe(next(bodies))
        window_start_s = perf_counter() + plan.warmup_s
        end_s = window_start_s + plan.duration_s
        recorder = Recorder(window_start_s, end_s)
        try:
            if plan.rate_per_s is not None:
                give_up_s = end_s + plan.timeout_s if plan.waits_for_slots else perf_counter()
                open_loop = _OpenLoop(client, bodies, recorder, plan.max_in_flight, give_up_s)
                await open_loop.run(end_s, plan.rate_per_s)
            else:
                await _ClosedLoop(client, bodies, recorder, end_s).run(plan.clients or 1)
        except asyncio.CancelledError:
            return recorder.finish(interrupted=True)
        return recorder.finish(interrupted=False)


def measure_load(plan: LoadPlan, bodies: Iterator[bytes]) -> Measurement:
    """Run `run_load` on a new event loop.

    Raises:
        UnreachableError: the server does not answer the probe.
        KeyboardInterrupt: the user interrupted the run before anything was measured.
    """
    gc.freeze()  # a garbage collection over all existing objects would look like a stall of the server
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_load(plan, bodies))


class _OpenLoop:
    """Sends requests at a constant rate, however long the responses take.

    The latency of a request counts from the time at which it was DUE: if the server stalls, it includes the wait for a
    slot. A request that still has no slot at `give_up_s` is recorded as not sent.
    """

    def __init__(
        self, client: Client, bodies: Iterator[bytes], recorder: Recorder, max_in_flight: int, give_up_s: float
    ) -> None:
        self._client, self._bodies, self._recorder = client, bodies, recorder
        self._free_slots, self._max_in_flight = max_in_flight, max_in_flight
        self._give_up_s = give_up_s
        self._waiting: deque[float] = deque()
        self._all_due = False
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def run(self, end_s: float, rate_per_s: float) -> None:
        giving_up = self._loop.call_later(self._give_up_s - perf_counter(), self._give_up)
        try:
            with Pacer(end_s, rate_per_s, self._on_due):
                await self._ended
        finally:
            giving_up.cancel()

    def _on_due(self, due_s: float | None) -> None:
        if due_s is None:
            self._all_due = True
            self._end_if_done()
        elif self._free_slots:
            self._send(due_s)
        elif perf_counter() < self._give_up_s:
            self._waiting.append(due_s)
        else:
            self._record_not_sent(due_s)

    def _send(self, due_s: float) -> None:
        self._free_slots -= 1
        self._client.post(next(self._bodies), partial(self._on_answer, due_s, perf_counter()))

    def _on_answer(self, due_s: float, sent_s: float, answer: Answer) -> None:
        self._recorder.add(due_s, sent_s, answer)
        self._free_slots += 1
        if self._waiting:
            self._send(self._waiting.popleft())
        elif self._all_due:
            self._end_if_done()

    def _give_up(self) -> None:
        while self._waiting:
            self._record_not_sent(self._waiting.popleft())
        self._end_if_done()

    def _record_not_sent(self, due_s: float) -> None:
        self._recorder.add(due_s, perf_counter(), Answer(NOT_SENT))

    def _end_if_done(self) -> None:
        if self._all_due and self._free_slots == self._max_in_flight and not self._ended.done():
            self._ended.set_result(None)


class _ClosedLoop:
    """Clients that each send the next query when their last one is answered."""

    def __init__(self, client: Client, bodies: Iterator[bytes], recorder: Recorder, end_s: float) -> None:
        self._client, self._bodies, self._recorder, self._end_s = client, bodies, recorder, end_s
        self._active = 0
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def run(self, clients: int) -> None:
        self._active = clients
        for _ in range(clients):
            self._send_next()
        await self._ended

    def _send_next(self) -> None:
        now_s = perf_counter()
        if now_s < self._end_s:
            self._client.post(next(self._bodies), partial(self._on_answer, now_s))
            return
        self._active -= 1
        if not self._active and not self._ended.done():
            self._ended.set_result(None)

    def _on_answer(self, sent_s: float, answer: Answer) -> None:
        self._recorder.add(sent_s, sent_s, answer)
        if answer.kind == CONNECTION:
            self._loop.call_later(_PAUSE_AFTER_CONNECTION_ERROR_S, self._send_next)
        else:
            self._send_next()
