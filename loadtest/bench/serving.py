"""Servers that are measured: started, awaited, stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

_STOP_TIMEOUT_S = 30


class ServeError(Exception):
    """A server that did not start; the message is what it said last."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers: where, which process, and the seconds from its command to its readiness."""

    url: str
    pid: int
    start_s: float

    def workers(self) -> list[int]:
        """The processes that answer: its children, or itself."""
        return children_of(self.pid) or [self.pid]


@contextmanager
def served(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run a command that prints `Serving on URL` when it does, and stop it at the end.

    Raises:
        ServeError: it ended before.
    """
    begun_s = perf_counter()
    with TemporaryFile("w+") as errors:
        # In a session of its own, so that Ctrl-C reaches the benchmark first, which then stops it.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
        )
        try:
            url = _url(process.stdout or ())
            if url is None:
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
                raise ServeError(f"{' '.join(command)} ended before it was ready: {last}")
            yield Served(url, process.pid, perf_counter() - begun_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_STOP_TIMEOUT_S)


def children_of(pid: int) -> list[int]:
    """The processes that a process of one thread, or its first thread, has started and not awaited.

    Raises:
        OSError: there is no such process.
    """
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ours_command(artifact: Path, workers: int, *options: str) -> list[str]:
    """The command of our own server."""
    command = [sys.executable, "-m", "astec.server", str(artifact), "--port", "0", "--workers", str(workers)]
    return [*command, "--log-level", "warning", *options]


def echo_command(workers: int, body_bytes: int) -> list[str]:
    """The command of the endpoint that only echoes."""
    command = [sys.executable, "-m", "astec.loadtest.peers.echo", "--workers", str(workers)]
    return [*command, "--body-bytes", str(body_bytes)]


def _url(lines: Iterable[str]) -> str | None:
    return next((line[line.index("http://") :].split()[0] for line in lines if "http://" in line), None)
