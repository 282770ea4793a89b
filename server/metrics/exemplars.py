"""Exemplars: for each bucket of a histogram the latest request whose trace was recorded, in memory of all workers."""

from __future__ import annotations

from mmap import mmap
from struct import Struct
from typing import NamedTuple

import numpy as np

_TRACE_ID_BYTES = 16
_SLOT = Struct(f"dd{_TRACE_ID_BYTES}s")
_DTYPE = np.dtype([("time_s", "f8"), ("value", "f8"), ("trace_id", f"V{_TRACE_ID_BYTES}")])
_TIME = Struct("d")
_NO_TIME = _TIME.pack(0.0)


class Exemplar(NamedTuple):
    """A value, the trace that it belongs to, as hexadecimal digits, and when it was observed, in seconds since 1970."""

    trace_id: str
    value: float
    time_s: float


class Exemplars:
    """A table of exemplars with a row for each worker. Make it before the workers are forked.

    A worker writes into its own row without a lock. Any worker can read all rows; a place that is just being written is
    skipped. Memory that nobody writes to takes no space.

    Args:
        num_rows: Number of workers.
        num_places: Number of places of a worker.
    """

    def __init__(self, num_rows: int, num_places: int) -> None:
        self._shape = (num_rows, num_places)
        self._memory = memoryview(mmap(-1, num_rows * num_places * _SLOT.size))

    def put(self, row: int, place: int, exemplar: Exemplar) -> None:
        """Replace the exemplar in a place."""
        begin = (row * self._shape[1] + place) * _SLOT.size
        # A reader that finds no time, or another time when it looks again, takes nothing of what is between.
        self._memory[begin : begin + _TIME.size] = _NO_TIME
        _SLOT.pack_into(self._memory, begin, 0.0, exemplar.value, bytes.fromhex(exemplar.trace_id))
        _TIME.pack_into(self._memory, begin, exemplar.time_s)

    def latest(self) -> dict[int, Exemplar]:
        """Return the latest exemplar of all workers in each place that has one."""
        table = np.frombuffer(self._memory, _DTYPE).reshape(self._shape)
        copied, again_s = table.copy(), table["time_s"].copy()
        times_s = np.where(copied["time_s"] == again_s, again_s, 0.0)
        rows = times_s.argmax(axis=0)
        return {
            place: Exemplar(copied["trace_id"][row, place].tobytes().hex(), float(copied["value"][row, place]), time_s)
            for place, row in enumerate(rows.tolist())
            if (time_s := float(times_s[row, place]))
        }
