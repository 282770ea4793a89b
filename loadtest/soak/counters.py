"""Whether the counters of `/metrics` only go up, whatever happens to the workers that count."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from astec.loadtest.report.exposition import read_exposition
from astec.loadtest.soak.tally import Tally

_OURS = "astec_"
_COUNTER = "_total"


def went_down(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """The counters of the server's own that are lower after than before, or gone."""
    counters = (series for series in before if series.startswith(_OURS) and _COUNTER in series)
    return [series for series in counters if after.get(series, 0.0) < before[series]]


async def watch_counters(url: str, tally: Tally, every_s: float) -> None:
    """Look until cancelled."""
    before: dict[str, float] = {}
    while True:
        with suppress(OSError):  # asked a worker that was killed just then
            after = await asyncio.to_thread(read_exposition, url)
            tally.went_down += len(went_down(before, after))
            before = after
        await asyncio.sleep(every_s)
