"""The memory and disk that this machine still has for a training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

_ROOT = Path("/")
_BYTES_PER_KB = 1024
_BYTES_PER_BLOCK = 512  # of st_blocks, whatever the blocks of the file system are


@dataclass(frozen=True, slots=True)
class Capacity:
    """The bytes that a training may take in all, with what its processes have taken already; None where unknown.

    Attributes:
        host_bytes: main memory.
        gpu_bytes: memory on this process's GPU; None on a CPU, too.
        disk_bytes: space for the run folder.
    """

    host_bytes: int | None
    gpu_bytes: int | None
    disk_bytes: int

    @classmethod
    def of(cls, device: torch.device, run_folder: Path, loaded_bytes: int) -> Capacity:
        """Measure what there is.

        Args:
            device: the device of this process.
            run_folder: the folder of the run, which need not exist yet.
            loaded_bytes: main memory that the processes have taken already, of that which the training needs.
        """
        available = available_memory()
        host = None if available is None else available + loaded_bytes
        return cls(host, _gpu_memory(device), disk_space(run_folder))


def available_memory(root: Path = _ROOT) -> int | None:
    """Return the main memory that can still be had: the system's, or less where a control group limits it.

    Args:
        root: the folder that holds `proc` and `sys`.

    Returns:
        Bytes; None where the system does not say.
    """
    found = _number(root / "proc/meminfo", r"^MemAvailable:\s+(\d+) kB$")
    if found is None:
        return None
    return min([found * _BYTES_PER_KB, *_left_in_groups(root)])


def resident_bytes(root: Path = _ROOT) -> int:
    """Return the main memory that this process has now; 0 where the system does not say."""
    return (_number(root / "proc/self/status", r"^VmRSS:\s+(\d+) kB$") or 0) * _BYTES_PER_KB


def disk_space(folder: Path) -> int:
    """Return the free bytes of the file system of a folder, with those of the files that are in the folder already."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    own = (
        sum(path.stat().st_blocks * _BYTES_PER_BLOCK for path in folder.rglob("*") if path.is_file())
        if folder.is_dir()
        else 0
    )
    return shutil.disk_usage(existing).free + own


def _gpu_memory(device: torch.device) -> int | None:
    """Return the free memory of a GPU, with what torch has reserved in this process."""
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what the limits of this process's control groups leave, in versions 1 and 2; file pages can be dropped."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = mounted / "memory" if controllers else mounted
        names = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if controllers else None
        limit, usage, inactive = names or ("max", "current", "inactive_file")
        group = top / path.lstrip("/")
        # Within a container, its own group may be mounted at the top, whatever its path is called.
        for folder in {top, group, *(parent for parent in group.parents if parent.is_relative_to(top))}:
            most = _number(folder / f"memory.{limit}", r"^(\d+)$")
            used = _number(folder / f"memory.{usage}", r"^(\d+)$")
            if most is not None and used is not None:
                dropped = _number(folder / "memory.stat", rf"^{inactive} (\d+)$") or 0
                yield max(0, most - used + dropped)


def _number(path: Path, pattern: str) -> int | None:
    """Return the number that a pattern finds in a file; None where there is no such file or number."""
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
