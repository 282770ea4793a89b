"""The requests to all shards for one answer: which are open, which are to be sent again, and what came back.

Nothing here waits or sends; both clients do that, with threads or on an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

from astec.server.client.answers import JsonObject
from astec.server.client.errors import AstecError, InvalidFieldError, ShardMissingError, StatusError
from astec.server.client.sharding.policy import ShardPolicy

Handle = TypeVar("Handle", bound=Hashable)


class Outcomes(Generic[Handle]):
    """The outcomes so far; `Handle` is a request under way, as the client holds it.

    Attributes:
        open: The requests under way.
        answers: The answer of each shard that has answered, by its number among the addresses.
        errors: The error of each shard all of whose requests have failed.
    """

    def __init__(self, policy: ShardPolicy) -> None:
        self._policy = policy
        self._begun_s = time.monotonic()
        self._hedged = policy.hedge_after_s is None
        self._started: dict[Handle, tuple[int, float]] = {}
        self.answers: dict[int, JsonObject] = {}
        self.errors: dict[int, AstecError] = {}

    @property
    def open(self) -> list[Handle]:
        """The requests under way."""
        return list(self._started)

    def started(self, handle: Handle, shard: int) -> None:
        """Note a request to a shard."""
        self._started[handle] = shard, time.monotonic()

    def is_settled(self) -> bool:
        """Return whether nothing is left to wait for."""
        if self.errors and self._policy.on_missing == "fail":
            return True
        return len(self.answers) + len(self.errors) == len(self._policy.addresses)

    def hedge_in_s(self) -> float | None:
        """Return the seconds until slow shards are to be asked again; None: they have been, or never are."""
        if self._hedged or self._policy.hedge_after_s is None:
            return None
        return max(0.0, self._begun_s + self._policy.hedge_after_s - time.monotonic())

    def slow_shards(self) -> list[int]:
        """Return the shards to ask again now. Call it when `hedge_in_s` has passed."""
        if self.hedge_in_s() != 0:
            return []
        self._hedged = True
        slow = sorted({shard for shard, _ in self._started.values()})
        for shard in slow:
            self._policy.observer.shard_hedged(shard)
        return slow

    def answered(self, handle: Handle, answer: JsonObject) -> list[Handle]:
        """Note an answer, and return the other requests to the same shard, whose answers nobody needs."""
        shard = self._ended(handle, None)
        self.answers.setdefault(shard, answer)
        others = [other for other, (asked, _) in self._started.items() if asked == shard]
        for other in others:
            del self._started[other]
        return others

    def failed(self, handle: Handle, error: AstecError) -> None:
        """Note a failure; it counts unless another request to the same shard is under way or has been answered."""
        shard = self._ended(handle, error)
        if all(asked != shard for asked, _ in self._started.values()):
            self.errors[shard] = error

    def require(self) -> None:
        """Raise the error of the request as a whole, if the policy does not allow the shards' errors.

        Raises:
            InvalidFieldError: A shard does not take the request, so that no shard would.
            StatusError: All shards refuse it for the same reason.
            ShardMissingError: A shard does not answer, or none does.
        """
        if not self.errors:
            return
        errors = list(self.errors.values())
        for error in errors:
            if isinstance(error, InvalidFieldError):
                raise error
        count = len(self._policy.addresses)
        if len(errors) == count and isinstance(errors[0], StatusError) and len(set(map(type, errors))) == 1:
            raise errors[0]
        if len(errors) == count or self._policy.on_missing == "fail":
            named = {self._policy.addresses[shard]: error for shard, error in sorted(self.errors.items())}
            raise ShardMissingError(named, count)

    def _ended(self, handle: Handle, error: AstecError | None) -> int:
        shard, begun_s = self._started.pop(handle)
        self._policy.observer.shard_answered(shard, time.monotonic() - begun_s, error)
        return shard
