from collections.abc import Callable, Iterator

import pytest

from astec.server.engine.shadow.shadow_channel import ShadowChannel
from astec.server.metrics.board import MetricsBoard
from astec.server.metrics.exposition import render_exposition


@pytest.fixture
def channel() -> Iterator[ShadowChannel]:
    """A channel whose ends are both in this process."""
    channel = ShadowChannel()
    yield channel
    channel.close()


@pytest.fixture
def board() -> MetricsBoard:
    """The metrics of one worker that serves two models."""
    return MetricsBoard(1, ("current", "next"))


@pytest.fixture
def series(board: MetricsBoard) -> Callable[[str], float]:
    """Returns the value of a series, and 0 for one that is not there."""

    def value(name: str) -> float:
        lines = render_exposition(board.metrics(0)).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)

    return value
