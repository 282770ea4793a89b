"""A load of queries at a constant rate, of which every answer is kept."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle

from astec.loadtest.generator.client import Client
from astec.loadtest.generator.connection import OK, Answer

RATE_PER_S = 300
CONNECTIONS = 16
PATIENCE_S = 60.0


async def until(happened: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = happened()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


class Load:
    """Sends requests at a constant rate over kept-alive connections, and counts the outcomes."""

    def __init__(self, url: str, bodies: list[bytes]) -> None:
        self.kinds: Counter[str] = Counter()
        self.answers: set[tuple[bytes, bytes]] = set()  # each request with each answer that it got
        self.in_flight = 0
        self.most_in_flight = 0
        self.going_on = True
        self._client = Client(f"{url}/predict", PATIENCE_S, CONNECTIONS)
        self._bodies = cycle(bodies)

    async def run(self) -> None:
        while self.going_on:
            self._send()
            await asyncio.sleep(1 / RATE_PER_S)
        while self.in_flight:
            await asyncio.sleep(0.01)
        await self._client.close()

    async def more(self, count: int) -> None:
        """Return once `count` more requests were answered without an error."""
        wanted = self.kinds[OK] + count
        await until(lambda: self.kinds[OK] >= wanted)

    def versions(self) -> set[str]:
        return {json.loads(answer)["model"]["version"] for _, answer in self.answers}

    def _send(self) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        body = next(self._bodies)
        self._client.post(body, partial(self._on_answer, body))

    def _on_answer(self, body: bytes, answer: Answer) -> None:
        self.in_flight -= 1
        self.kinds[answer.kind] += 1
        if answer.kind == OK:
            self.answers.add((body, answer.detail))


@asynccontextmanager
async def under_load(url: str, bodies: list[bytes]) -> AsyncIterator[Load]:
    load = Load(url, bodies)
    running = asyncio.create_task(load.run())
    try:
        await load.more(100)
        yield load
        await load.more(100)
    finally:
        load.going_on = False
        await running
