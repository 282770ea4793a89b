"""Being asked to stop, by Ctrl-C or by the system."""

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
    """While the block runs, SIGINT and SIGTERM say `message`, if any, and end the process with 130 and 143.

    It ends at once and cleans nothing up: whoever uses this writes files that survive a kill, and threads that build a
    graph would else be waited for. Signals that are ignored stay ignored. For the main thread only.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        # Not by way of a stream: the signal may have come in the middle of a write to it.
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
