"""What a server tells of itself at `/metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import urlopen

_TIMEOUT_S = 10.0
_RSS, _PSS = "process_resident_memory_bytes", "process_proportional_memory_bytes"


@dataclass(frozen=True, slots=True)
class WorkersMemory:
    """The memory of all workers of a server in bytes.

    Attributes:
        rss_bytes: of the largest, pages that it shares in full.
        pss_bytes: of all, shared pages divided by their users.
    """

    rss_bytes: float
    pss_bytes: float


def read_exposition(url: str) -> dict[str, float]:
    """Values by series, labels included, of the server at `url`, whatever its path.

    Raises:
        OSError: it does not answer.
    """
    parts = urlsplit(url)
    with urlopen(f"http://{parts.netloc}/metrics", timeout=_TIMEOUT_S) as answer:
        return parse_exposition(answer.read().decode())


def parse_exposition(text: str) -> dict[str, float]:
    """Values by series of Prometheus' text format without timestamps, as our server writes it."""
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


def workers_memory(exposition: dict[str, float]) -> WorkersMemory | None:
    """The memory of the workers, or None where the server does not tell."""
    rss = [value for series, value in exposition.items() if series.startswith(_RSS)]
    pss = [value for series, value in exposition.items() if series.startswith(_PSS)]
    return WorkersMemory(max(rss), sum(pss)) if rss and pss else None
