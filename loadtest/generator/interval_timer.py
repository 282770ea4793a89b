"""Linux's timer file descriptor (timerfd), which an event loop can wait for; Python has it from 3.13 on."""

from __future__ import annotations

import ctypes
import os
import time

_libc = ctypes.CDLL(None, use_errno=True)
_NS_PER_S = 1_000_000_000


class _Duration(ctypes.Structure):
    """`struct timespec`."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    @classmethod
    def of(cls, duration_ns: int) -> _Duration:
        return cls(*divmod(duration_ns, _NS_PER_S))


class _Schedule(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (("interval", _Duration), ("first", _Duration))


def create_interval_timer(interval_s: float) -> int:
    """Create a file descriptor that becomes readable at once and then every `interval_s`; the caller closes it.

    Raises:
        OSError: the system cannot create a timer.
    """
    descriptor = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise _error("timerfd_create")
    schedule = _Schedule(_Duration.of(max(1, round(interval_s * _NS_PER_S))), _Duration.of(1))
    if _libc.timerfd_settime(descriptor, 0, ctypes.byref(schedule), None) < 0:
        os.close(descriptor)
        raise _error("timerfd_settime")
    return int(descriptor)


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
