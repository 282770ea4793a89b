"""What a client of shards does about shards that do not answer, or are slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, get_args

import httpx

from astec.server.client.errors import AstecError

OnMissing = Literal["fail", "partial"]


class ShardObserver(Protocol):
    """Is told how shards answer, for metrics."""

    def shard_answered(self, shard: int, seconds: float, error: AstecError | None) -> None:
        """Note the end of a request to the shard of the address `shard`, and the error if it failed."""

    def shard_hedged(self, shard: int) -> None:
        """Note that a request was sent a second time, because the first had no answer yet."""


class _Nobody:
    """An observer that notes nothing."""

    def shard_answered(self, shard: int, seconds: float, error: AstecError | None) -> None:
        pass

    def shard_hedged(self, shard: int) -> None:
        pass


NOBODY: ShardObserver = _Nobody()


class ShardOptions(TypedDict, total=False):
    """The options of a client of shards."""

    on_missing: OnMissing
    hedge_after_ms: float | None
    shard_observer: ShardObserver | None


@dataclass(frozen=True, slots=True)
class ShardPolicy:
    """The addresses of all shards, and what to do about those that do not answer.

    Attributes:
        addresses: Of the shards, without passwords, by which errors and partial answers name them.
        on_missing: "fail": an error that names the shard. "partial": the answer of the other shards, which says so.
        hedge_after_s: Seconds after which a request is sent a second time; the first answer counts. None: never.
        observer: Is told how shards answer.
    """

    addresses: tuple[str, ...]
    on_missing: OnMissing
    hedge_after_s: float | None
    observer: ShardObserver = NOBODY

    @classmethod
    def of(
        cls,
        urls: Sequence[str],
        *,
        on_missing: OnMissing = "fail",
        hedge_after_ms: float | None = None,
        shard_observer: ShardObserver | None = None,
    ) -> ShardPolicy:
        """Make a policy from the arguments of a client.

        Raises:
            ValueError: There is no address, one is given twice, or a value is none of those that are allowed.
        """
        addresses = tuple(map(_without_password, urls))
        if not addresses:
            raise ValueError("There is no address; give that of a server, or those of all shards")
        if repeated := sorted({address for address in addresses if addresses.count(address) > 1}):
            raise ValueError(f"The address {repeated[0]} is given twice; give each shard's once")
        if on_missing not in get_args(OnMissing):
            raise ValueError(f"on_missing is {on_missing!r}; give one of {', '.join(get_args(OnMissing))}")
        if hedge_after_ms is not None and hedge_after_ms <= 0:
            raise ValueError(f"hedge_after_ms is {hedge_after_ms}; give more than 0, or None to send no second request")
        after_s = None if hedge_after_ms is None else hedge_after_ms / 1e3
        return cls(addresses, on_missing, after_s, shard_observer or NOBODY)


def _without_password(url: str) -> str:
    parsed = httpx.URL(url)
    return str(parsed.copy_with(userinfo=b"")).rstrip("/")
