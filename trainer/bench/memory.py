"""Peak memory of this process, in RAM and on its GPU, over a period of time."""

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
    """The peaks of memory since the last `reset`.

    Args:
        device: the device whose allocated memory is measured, if it is a GPU.

    Attributes:
        resettable: False if the system cannot reset the peak of the resident memory, so that peaks are those since the
            process began.
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
        """Return the peak of this process's memory in RAM, in bytes, without GPU memory."""
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        except OSError:  # not Linux
            found = None
        kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes * _BYTES_PER_KB

    def gpu_bytes(self) -> int | None:
        """Return the peak of the tensors' memory on the GPU, in bytes; None on a CPU."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
