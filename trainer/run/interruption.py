"""Interruption of a training by Ctrl-C or by the system."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def exit_when_interrupted(message: str | None = None) -> Iterator[None]:
    """Let SIGINT and SIGTERM print `message`, if any, and end the process with exit code 130 or 143.

    The process ends at once, without clean-up: the files of a run survive a kill, and an orderly exit would wait for
    threads that build a graph. Signals that are ignored stay ignored. Works in the main thread only.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        # Written to the file descriptor: the signal may have interrupted a write to the stream.
        if message is not None:
            os.write(_STDERR, f"{_SHOW_CURSOR if os.isatty(_STDERR) else ''}\n{message}\n".encode())
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
