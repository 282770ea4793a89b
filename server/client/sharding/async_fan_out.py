"""Asking all shards at once on an event loop, for the asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from astec.server.client.answers import JsonObject
from astec.server.client.errors import AstecError
from astec.server.client.queries import Asked, PredictBody
from astec.server.client.sharding.outcomes import Outcomes
from astec.server.client.sharding.policy import ShardPolicy
from astec.server.client.sharding.request import ShardedRequest

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Asking = Coroutine[Any, Any, JsonObject]


class ShardTasks(Generic[Shard]):
    """Asks all shards at once. Belongs to one event loop.

    Args:
        policy: What to do about shards that do not answer, or are slow.
        shards: The client of each address.
    """

    def __init__(self, policy: ShardPolicy, shards: Sequence[Shard]) -> None:
        self.policy = policy
        self._shards = shards

    async def predict(self, ask: Callable[[Shard, PredictBody], Asking], asked: Asked) -> dict[str, Any]:
        """Return the merged answer of all shards, which `ask` sends a body to.

        Raises:
            ShardMissingError: Shards do not answer, and the policy does not allow it.
            ShardMismatchError: They are not shards of one model.
            AstecError: As for a single server.
        """
        request = ShardedRequest(self.policy, asked)
        while (body := request.body()) is not None:
            request.add(await self.ask_all(partial(_with, ask, body)))
        return request.answer()

    async def ask_all(self, ask: Callable[[Shard], Asking]) -> dict[int, JsonObject]:
        """Return the answers of the shards, by number. Raises as `predict`."""
        outcomes = Outcomes[asyncio.Task[JsonObject]](self.policy)
        try:
            for shard in range(len(self._shards)):
                outcomes.started(_start(ask(self._shards[shard])), shard)
            while not outcomes.is_settled():
                done, _ = await asyncio.wait(
                    outcomes.open, timeout=outcomes.hedge_in_s(), return_when=asyncio.FIRST_COMPLETED
                )
                for shard in [] if done else outcomes.slow_shards():
                    outcomes.started(_start(ask(self._shards[shard])), shard)
                for task in done:
                    _settle(outcomes, task)
        finally:  # Also if the caller is cancelled.
            for task in outcomes.open:
                task.cancel()
        outcomes.require()
        return outcomes.answers

    async def each(self, call: Callable[[Shard], Coroutine[Any, Any, Result]]) -> list[Result]:
        """Return the results of a call of each client, in the order of the addresses."""
        return await asyncio.gather(*map(call, self._shards))


def _with(ask: Callable[[Shard, PredictBody], Asking], body: PredictBody, shard: Shard) -> Asking:
    return ask(shard, body)


def _start(asking: Asking) -> asyncio.Task[JsonObject]:
    task = asyncio.create_task(asking)
    # An error that nobody waits for any more would be logged, unless somebody has looked at it.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _settle(outcomes: Outcomes[asyncio.Task[JsonObject]], task: asyncio.Task[JsonObject]) -> None:
    if task not in outcomes.open:
        return  # of a shard whose other request has been answered at the same moment
    error = task.exception()
    if isinstance(error, AstecError):
        outcomes.failed(task, error)
    else:
        for other in outcomes.answered(task, task.result()):
            other.cancel()
