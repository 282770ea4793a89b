"""What a worker sends to the process of the shadow: its answers, after they are sent to the clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.engine.shadow.shadow_channel import MAX_DATAGRAM_BYTES, ShadowChannel, encode, join
from astec.server.metrics.board import Metrics

MAX_WAITING = 4096
"""The most answers that wait in a worker to be sent."""

_PAUSE_S = 0.01
# The most answers that are encoded at a time, which takes less than a tenth of a millisecond.
_SLICE = 32


class ShadowSender:
    """Sends answers on, a few at a time. Belongs to the event loop of a worker.

    `add` only appends to a queue. Where the process of the shadow cannot keep up, the queue fills, and further answers
    are dropped and counted.

    Args:
        channel: Leads to the process of the shadow.
        model: The place of the model in the shadow among those that are served; its own answers are not sent.
        metrics: The metrics of that model in this worker.

    Attributes:
        model: The place of the model in the shadow.
    """

    def __init__(self, channel: ShadowChannel, model: int, metrics: Metrics) -> None:
        self._channel = channel
        self.model = model
        self._metrics = metrics
        self._waiting: deque[tuple[RankRequest, RankResult]] = deque()
        self._unsent: list[bytes] = []  # encoded, and refused by the channel for now
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to send. Called in the event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Stop sending; what waits is dropped."""
        if self._timer is not None:
            self._timer.cancel()

    def add(self, requests: Sequence[RankRequest], results: Sequence[RankResult]) -> None:
        """Queue the answers of a request, as far as they can be compared; drop and count them if the queue is full."""
        for request, result in zip(requests, results, strict=True):
            if request.model == self.model:
                continue
            if request.selection is not None:
                self._metrics.not_compared("filtered", 1)
            elif len(self._waiting) >= MAX_WAITING:
                self._metrics.not_compared("queue_full", 1)
            else:
                self._waiting.append((request, result))
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_later(_PAUSE_S, self._send)

    def _send(self) -> None:
        self._timer = None
        encoded = self._unsent or self._next_slice()
        try:
            self._channel.send(join(encoded))
        except BlockingIOError:
            self._unsent = encoded
        except OSError:
            self._unsent = []
            self._metrics.not_compared("too_large", len(encoded))
        else:
            self._unsent = []
        if self._waiting or self._unsent:
            # With more than a slice, soon; but other events have their turn in between.
            pause_s = _PAUSE_S if self._unsent or len(self._waiting) < _SLICE else 0.0
            self._timer = self._loop.call_later(pause_s, self._send)

    def _next_slice(self) -> list[bytes]:
        encoded: list[bytes] = []
        num_bytes = 0
        while self._waiting and len(encoded) < _SLICE and num_bytes < MAX_DATAGRAM_BYTES:
            encoded.append(encode(*self._waiting.popleft()))
            num_bytes += len(encoded[-1])
        return encoded
