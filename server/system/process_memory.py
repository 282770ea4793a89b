"""The memory of a process, by how much of it is shared with other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Sizes of the resident memory of a process, in bytes, as the kernel counts them.

    Attributes:
        rss_bytes: All pages of the process; shared pages count in full (resident set size).
        pss_bytes: All pages, each divided by the number of processes that map it, so that a sum over workers is right
            (proportional set size).
        private_bytes: Pages that no other process maps; they would be free if this process ended.
        anonymous_bytes: Pages that belong to no file, whether they are shared with a forked process or not: the memory
            that the process has allocated, which does not depend on other processes.
    """

    rss_bytes: int
    pss_bytes: int
    private_bytes: int
    anonymous_bytes: int


def process_memory(pid: int) -> ProcessMemory:
    """Return the memory of a process, from `/proc/PID/smaps_rollup` (Linux 4.14 or later).

    Raises:
        OSError: There is no such process, it belongs to another user, or the kernel has no such file.
    """
    fields = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {field[0]: int(field[1]) for field in fields}
    return ProcessMemory(
        rss_bytes=kib["Rss:"] << 10,
        pss_bytes=kib["Pss:"] << 10,
        private_bytes=(kib["Private_Clean:"] + kib["Private_Dirty:"]) << 10,
        anonymous_bytes=kib["Anonymous:"] << 10,
    )
