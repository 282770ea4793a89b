"""The use of a GPU and of main memory by a process and its descendants, sampled while it runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from threading import Event, Thread
from types import TracebackType
from typing import Self

from astec.loadtest.bench.serving import children_of

_INTERVAL_S = 0.5
_QUERY_TIMEOUT_S = 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One reading of nvidia-smi; a figure that the driver does not give is None.

    Attributes:
        busy_percent: share of the time in which a kernel ran.
        used_bytes: memory in use, by all processes.
        watts: power.
    """

    busy_percent: float | None
    used_bytes: float | None
    watts: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of a machine by a process and its descendants; None where nothing was read.

    Attributes:
        busy_percent: mean share of the time in which the GPU ran a kernel.
        gpu_bytes: peak of the GPU's memory in use.
        watts: mean power of the GPU.
        host_bytes: peak of the sum of their resident memory.
    """

    busy_percent: float | None = None
    gpu_bytes: float | None = None
    watts: float | None = None
    host_bytes: float | None = None


class UsageSampler:
    """Samples twice a second during a `with` block.

    Args:
        pid: the process.
        gpu: number or UUID of the GPU for nvidia-smi; None reads no GPU.
    """

    def __init__(self, pid: int, gpu: str | None) -> None:
        self._pid, self._gpu = pid, gpu
        self._stop = Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self._readings: list[GpuReading] = []
        self._host_bytes: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def usage(self) -> Usage:
        """Return what was read so far."""
        return Usage(
            busy_percent=_over(fmean, [reading.busy_percent for reading in self._readings]),
            gpu_bytes=_over(max, [reading.used_bytes for reading in self._readings]),
            watts=_over(fmean, [reading.watts for reading in self._readings]),
            host_bytes=max(self._host_bytes, default=None),
        )

    def _sample(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._host_bytes.append(resident_bytes(self._pid))
            if self._gpu is not None and (reading := read_gpu(self._gpu)) is not None:
                self._readings.append(reading)


def read_gpu(gpu: str) -> GpuReading | None:
    """Ask nvidia-smi for a reading of a GPU; None if it gives none."""
    fields = query_gpu(gpu, "utilization.gpu,memory.used,power.draw")
    if fields is None or len(fields) != 3:
        return None
    busy, used_mib, watts = map(_number, fields)
    return GpuReading(busy, None if used_mib is None else used_mib * _MIB, watts)


def query_gpu(gpu: str, fields: str) -> list[str] | None:
    """Ask nvidia-smi for fields of a GPU; None if it is missing, hangs or fails.

    Args:
        gpu: number or UUID.
        fields: names as in `nvidia-smi --help-query-gpu`, separated by commas.
    """
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_QUERY_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return [field.strip() for field in asked.stdout.strip().split(",")]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; memory that they share counts several times."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return sum(page_bytes * _resident_pages(each) for each in _descendants(pid))


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = children_of(pid)
    except OSError:  # it has ended
        return
    for child in children:
        yield from _descendants(child)


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended
        return 0


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:  # such as [N/A]
        return None


def _over(summarize: Callable[[Sequence[float]], float], figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return summarize(known) if known else None
