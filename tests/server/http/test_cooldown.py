"""The pause of connections after refusals, with a clock of the event loop that the tests set."""

import asyncio
from collections.abc import Callable

import pytest

from astec.server.http.cooldown import Cooldown

RATE_PER_S = 10.0
MAX_WAIT_S = 2.0


class Connection:
    def __init__(self) -> None:
        self.events: list[str] = []

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")


class Clock:
    """Replaces the clock and the timers of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self._timers: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        monkeypatch.setattr(loop, "call_at", lambda when_s, callback: self._timers.append((when_s, callback)))

    def go_to(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            self.now_s, callback = self._timers.pop(0)
            callback()
        self.now_s = now_s


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(asyncio.get_running_loop(), monkeypatch)


def refuse(cooldown: Cooldown, count: int) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for connection in connections:
        cooldown.note_refusal(connection)
    return connections


async def test_refusals_below_the_rate_cause_no_pause(clock: Clock) -> None:
    cooldown = Cooldown(rate_per_s=1000.0, max_wait_s=MAX_WAIT_S)
    for second in range(5):
        clock.go_to(100.0 + second)
        assert refuse(cooldown, 9)[-1].events == []
    assert len(cooldown) == 0


async def test_connections_are_read_again_at_the_rate_in_the_order_of_their_refusals(clock: Clock) -> None:
    cooldown = Cooldown(RATE_PER_S, MAX_WAIT_S)
    connections = refuse(cooldown, 5)
    read_again = []
    for tenth in range(7):
        clock.go_to(100.05 + tenth / RATE_PER_S)
        read_again.append(sum(connection.events[-1] == "resume" for connection in connections))
    assert read_again == [0, 1, 2, 3, 4, 5, 5]
    assert {tuple(connection.events) for connection in connections} == {("pause", "resume")}
    assert len(cooldown) == 0


async def test_no_pause_is_longer_than_the_limit(clock: Clock) -> None:
    cooldown = Cooldown(RATE_PER_S, MAX_WAIT_S)
    connections = refuse(cooldown, 1000)
    clock.go_to(100.0 + MAX_WAIT_S)
    assert all(connection.events == ["pause", "resume"] for connection in connections)


async def test_after_a_pause_the_rate_begins_anew(clock: Clock) -> None:
    cooldown = Cooldown(RATE_PER_S, MAX_WAIT_S)
    refuse(cooldown, 1000)
    clock.go_to(200.0)
    (connection,) = refuse(cooldown, 1)
    clock.go_to(200.0 + 1.5 / RATE_PER_S)
    assert connection.events == ["pause", "resume"]
