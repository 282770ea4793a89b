"""The memory of a process, what it shares with others told from what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes in memory, as the kernel accounts for them.

    Attributes:
        rss_bytes: every page of the process, shared ones in full.
        pss_bytes: every page divided by the number of processes that map it, so that a sum over workers is right.
        private_bytes: pages that no other process maps: what would be free again if this one ended.
        anonymous_bytes: pages of no file, shared with its fork or not: what it has allocated, whoever else comes or
            goes.
    """

    rss_bytes: int
    pss_bytes: int
    private_bytes: int
    anonymous_bytes: int


def process_memory(pid: int) -> ProcessMemory:
    """The memory of process `pid`, from `/proc/PID/smaps_rollup` (Linux 4.14 or later).

    Raises:
        OSError: there is no such process, it belongs to another user, or the kernel does not tell.
    """
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {field[0]: int(field[1]) for field in fields}
    return ProcessMemory(
        rss_bytes=kib["Rss:"] << 10,
        pss_bytes=kib["Pss:"] << 10,
        private_bytes=(kib["Private_Clean:"] + kib["Private_Dirty:"]) << 10,
        anonymous_bytes=kib["Anonymous:"] << 10,
    )
