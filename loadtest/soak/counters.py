"""The check that the counters of `/metrics` never fall, even when workers are killed or replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from astec.loadtest.report.exposition import read_exposition
from astec.loadtest.soak.tally import Tally

_OURS = "astec_"
_COUNTER = "_total"


def went_down(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """List the server's own counters that are lower than before, or missing."""
    counters = (series for series in before if series.startswith(_OURS) and _COUNTER in series)
    return [series for series in counters if after.get(series, 0.0) < before[series]]


async def watch_counters(url: str, tally: Tally, every_s: float) -> None:
    """Read the counters every `every_s` seconds until cancelled, and count those that fell."""
    before: dict[str, float] = {}
    while True:
        with suppress(OSError):  # the worker that was asked has just been killed
            after = await asyncio.to_thread(read_exposition, url)
            tally.went_down += len(went_down(before, after))
            before = after
        await asyncio.sleep(every_s)
