"""The metrics that a server exposes at `/metrics`, in Prometheus' text format."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import urlopen

_TIMEOUT_S = 10.0
_RSS, _PSS = "process_resident_memory_bytes", "process_proportional_memory_bytes"


@dataclass(frozen=True, slots=True)
class WorkersMemory:
    """The memory of the workers of a server, in bytes.

    Attributes:
        rss_bytes: resident memory of the largest worker, in which shared pages count in full.
        pss_bytes: memory of all workers together, in which a shared page is divided among its users.
    """

    rss_bytes: float
    pss_bytes: float


def read_exposition(url: str) -> dict[str, float]:
    """Read the metrics of the server at `url`, whose path is ignored: values by series name with labels.

    Raises:
        OSError: the server does not answer.
    """
    parts = urlsplit(url)
    with urlopen(f"http://{parts.netloc}/metrics", timeout=_TIMEOUT_S) as answer:
        return parse_exposition(answer.read().decode())


def parse_exposition(text: str) -> dict[str, float]:
    """Parse Prometheus' text format without timestamps, as our server writes it, into values by series."""
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


def workers_memory(exposition: dict[str, float]) -> WorkersMemory | None:
    """Return the memory of the workers; None where the server does not expose it."""
    rss = [value for series, value in exposition.items() if series.startswith(_RSS)]
    pss = [value for series, value in exposition.items() if series.startswith(_PSS)]
    return WorkersMemory(max(rss), sum(pss)) if rss and pss else None
