"""Server processes to measure: start, wait until ready, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

from astec.loadtest.child_output import last_line

_STOP_TIMEOUT_S = 30


class ServeError(Exception):
    """A server that did not start; the message has the last line of its output."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: its URL, its process, and the seconds from the start of its command until it was ready."""

    url: str
    pid: int
    start_s: float

    def workers(self) -> list[int]:
        """Return the ids of its worker processes; its own id where it has no children."""
        return children_of(self.pid) or [self.pid]

    def kill(self) -> None:
        """Kill the server with its workers, none of which can answer what it has begun."""
        os.killpg(self.pid, signal.SIGKILL)  # The first process of a session gives its group this number.


@contextmanager
def served(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run a command that prints `Serving on URL` once it is ready, and stop it at the end of the block.

    Raises:
        ServeError: the command ended before it was ready.
    """
    begun_s = perf_counter()
    with TemporaryFile("w+") as errors:
        # In a session of its own: Ctrl-C then reaches only the benchmark, which stops the server.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
        )
        try:
            url = _url(process.stdout or ())
            if url is None:
                errors.seek(0)
                raise ServeError(f"{' '.join(command)} ended before it was ready: {last_line(errors.read())}")
            yield Served(url, process.pid, perf_counter() - begun_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_STOP_TIMEOUT_S)


def children_of(pid: int) -> list[int]:
    """Return the ids of the child processes that the main thread of a process has started and not reaped.

    Raises:
        OSError: there is no such process.
    """
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ours_command(artifact: Path, workers: int, *options: str) -> list[str]:
    """Return the command of our server."""
    return _server_command([str(artifact)], workers, *options)


def merging_command(shards: Iterable[str], *options: str) -> list[str]:
    """Return the command of our server, with one worker, that merges the answers of the shards at some URLs."""
    return _server_command([flag for url in shards for flag in ("--upstream", url)], 1, *options)


def echo_command(workers: int, body_bytes: int) -> list[str]:
    """Return the command of the echo server."""
    command = [sys.executable, "-m", "astec.loadtest.peers.echo", "--workers", str(workers)]
    return [*command, "--body-bytes", str(body_bytes)]


def _server_command(served_model: Sequence[str], workers: int, *options: str) -> list[str]:
    command = [sys.executable, "-m", "astec.server", *served_model, "--port", "0", "--workers", str(workers)]
    return [*command, "--log-level", "warning", *options]


def _url(lines: Iterable[str]) -> str | None:
    return next((line[line.index("http://") :].split()[0] for line in lines if "http://" in line), None)
