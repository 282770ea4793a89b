"""Asking all shards at once with threads, for the synchronous client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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

_THREADS_PER_SHARD = 16
"""Calls of as many threads wait for shards at a time; others wait for these."""


class ShardThreads(Generic[Shard]):
    """Asks all shards at once. Threads may share it.

    Args:
        policy: What to do about shards that do not answer, or are slow.
        shards: The client of each address.
    """

    def __init__(self, policy: ShardPolicy, shards: Sequence[Shard]) -> None:
        self.policy = policy
        self._shards = shards
        self._pool = ThreadPoolExecutor(_THREADS_PER_SHARD * len(shards), "astec-shards")

    def predict(self, ask: Callable[[Shard, PredictBody], JsonObject], asked: Asked) -> dict[str, Any]:
        """Return the merged answer of all shards, which `ask` sends a body to.

        Raises:
            ShardMissingError: Shards do not answer, and the policy does not allow it.
            ShardMismatchError: They are not shards of one model.
            AstecError: As for a single server.
        """
        request = ShardedRequest(self.policy, asked)
        while (body := request.body()) is not None:
            request.add(self.ask_all(partial(_with, ask, body)))
        return request.answer()

    def ask_all(self, ask: Callable[[Shard], JsonObject]) -> dict[int, JsonObject]:
        """Return the answers of the shards, by number. Raises as `predict`."""
        outcomes = Outcomes[Future[JsonObject]](self.policy)
        for shard in range(len(self._shards)):
            outcomes.started(self._pool.submit(ask, self._shards[shard]), shard)
        while not outcomes.is_settled():
            done, _ = wait(outcomes.open, outcomes.hedge_in_s(), FIRST_COMPLETED)
            for shard in [] if done else outcomes.slow_shards():
                outcomes.started(self._pool.submit(ask, self._shards[shard]), shard)
            for future in done:
                _settle(outcomes, future)
        for future in outcomes.open:
            future.cancel()
        outcomes.require()
        return outcomes.answers

    def each(self, call: Callable[[Shard], Result]) -> list[Result]:
        """Return the results of a call of each client, in the order of the addresses."""
        return list(self._pool.map(call, self._shards))

    def close(self, close: Callable[[Shard], None]) -> None:
        """Wait for requests under way, end the threads and close the clients."""
        self._pool.shutdown(cancel_futures=True)
        for shard in self._shards:
            close(shard)


def _with(ask: Callable[[Shard, PredictBody], JsonObject], body: PredictBody, shard: Shard) -> JsonObject:
    return ask(shard, body)


def _settle(outcomes: Outcomes[Future[JsonObject]], future: Future[JsonObject]) -> None:
    if future not in outcomes.open:
        return  # of a shard whose other request has been answered at the same moment
    error = future.exception()
    if isinstance(error, AstecError):
        outcomes.failed(future, error)
    else:
        for other in outcomes.answered(future, future.result()):
            other.cancel()
