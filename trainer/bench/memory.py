"""The most memory that a stretch of work took, of this process and of its GPU."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_BYTES_PER_KB = 1024


class PeakMemory:
    """Peaks since the last `reset`.

    Args:
        device: its allocated memory is watched where it is a GPU.

    Attributes:
        resettable: whether the system lets the peak of the resident memory be set back; where it does not, every peak
            is that since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.resettable = True
        self.reset()

    def reset(self) -> None:
        """Forget the peaks so far."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        try:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        except OSError:
            self.resettable = False

    def resident_bytes(self) -> int:
        """Peak of the memory that this process had in RAM, in bytes; GPU memory is not part of it."""
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        except OSError:  # no Linux
            found = None
        kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes * _BYTES_PER_KB

    def gpu_bytes(self) -> int | None:
        """Peak of what tensors took on the GPU, in bytes; None on a CPU."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
