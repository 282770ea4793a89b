"""The plan of a run of the load generator."""

from dataclasses import dataclass
from math import ceil
from urllib.parse import urlsplit

_OPEN_LOOP_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The server to load, the amount of load and its duration.

    Exactly one of `rate_per_s` (open loop) and `clients` (closed loop) is set. When all `max_in_flight` slots of an
    open loop are in use, a due request waits for a slot if `waits_for_slots` is set; else it is given up at once, so
    that the wait in the generator is not part of every later latency.

    Raises:
        ValueError: a value is out of range; the message names it and the remedy.
    """

    url: str
    rate_per_s: float | None
    clients: int | None
    duration_s: float
    warmup_s: float = 1.0
    timeout_s: float = 5.0
    max_in_flight: int = 1000
    waits_for_slots: bool = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{self.url!r} is not a URL to load. Give http://HOST:PORT.")
        if (self.rate_per_s is None) == (self.clients is None):
            raise ValueError("Give either a rate (open loop) or a number of clients (closed loop), not both.")
        for name in ("rate_per_s", "clients", "duration_s", "timeout_s", "max_in_flight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; it must be above 0.")
        if not 0 <= self.warmup_s < float("inf"):
            raise ValueError(f"warmup_s is {self.warmup_s}; it must be at least 0.")

    @property
    def connections(self) -> int:
        """Number of connections to open at the start: one per client, or enough to reach all workers of a server."""
        if self.rate_per_s is None:
            return self.clients or 1
        return min(_OPEN_LOOP_CONNECTIONS, self.max_in_flight, ceil(self.rate_per_s))

    @property
    def endpoint(self) -> str:
        """The URL to post to: `/predict` unless the URL already has a path."""
        path = urlsplit(self.url).path.rstrip("/")
        return self.url if path else f"{self.url.rstrip('/')}/predict"
