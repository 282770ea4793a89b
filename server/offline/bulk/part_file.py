"""The unfinished output of a job, with a journal that says how much of it is valid.

A process may be killed between any two instructions, and the machine may lose power. Therefore the journal is replaced
atomically, after the bytes that it counts are on the disk. Any further bytes are cut off when the file is continued.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, Any, Final, NamedTuple

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.server.offline.bulk.output_formats import OutputFormat

PART_SUFFIX: Final = ".part"
JOURNAL_SUFFIX: Final = ".part.journal"
_CHECKPOINT_S: Final = 0.5


class PartFileError(ValueError):
    """A part file that a job must not continue; the message says why and what to do."""


class _Progress(NamedTuple):
    """The number of queries whose predictions are written, and the number of bytes that these take."""

    num_queries: int
    num_bytes: int


class PartFile:
    """The predictions that are written so far. `open_part_file` makes it.

    Attributes:
        num_queries: The number of queries whose predictions are in the file.
    """

    def __init__(self, target: Path, stream: IO[bytes], job: Mapping[str, object], done: _Progress) -> None:
        self.num_queries = done.num_queries
        self._target = target
        self._stream = stream
        self._job = job
        self._saved_s = monotonic()
        stream.truncate(done.num_bytes)
        stream.seek(done.num_bytes)
        self.save()

    def write(self, content: bytes, num_queries: int) -> None:
        """Append the encoded predictions of `num_queries` more queries."""
        self._stream.write(content)
        self.num_queries += num_queries
        if monotonic() - self._saved_s > _CHECKPOINT_S:
            self.save()

    def save(self) -> None:
        """Write everything to the disk, so that only later predictions can be lost."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        state = {"job": self._job, "queries": self.num_queries, "bytes": self._stream.tell()}
        write_file_atomically(_journal(self._target), json.dumps(state).encode())
        self._saved_s = monotonic()

    def publish(self, output_format: OutputFormat) -> None:
        """Turn the part file into the output, once the predictions of all queries are written."""
        self.save()
        output_format.publish(_part(self._target), self._target)
        _journal(self._target).unlink()

    def discard(self) -> None:
        """Remove the part file and its journal."""
        _part(self._target).unlink()
        _journal(self._target).unlink()


@contextmanager
def open_part_file(target: Path, job: Mapping[str, object], restart: bool) -> Iterator[PartFile]:
    """Open the part file of an output: the one that an interrupted run left, or a new one.

    Args:
        target: The output file.
        job: JSON values of everything that the predictions depend on; only the same job is continued.
        restart: Whether to begin again even if there is a part file.

    Raises:
        PartFileError: Another process writes the part file, or it belongs to another job.
    """
    descriptor = os.open(_part(target), os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as stream:
        _lock(stream, target)
        done = _Progress(0, 0) if restart else _progress(target, job)
        if os.fstat(descriptor).st_size < done.num_bytes:  # It was truncated; compute everything again.
            done = _Progress(0, 0)
        yield PartFile(target, stream, job, done)


def _lock(stream: IO[bytes], target: Path) -> None:
    """Lock the file for this process, until it is closed.

    Raises:
        PartFileError: Another process writes it.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Just before it was locked, another process may have renamed it to the output.
        is_free = os.path.samestat(os.fstat(stream.fileno()), _part(target).stat())
    except (BlockingIOError, FileNotFoundError):
        is_free = False
    if not is_free:
        raise PartFileError(f"{_part(target)}: another process writes it. Wait for that, or choose another output.")


def _progress(target: Path, job: Mapping[str, object]) -> _Progress:
    """Read the journal.

    Raises:
        PartFileError: The part file belongs to another job, or its journal is damaged or missing.
    """
    try:
        state: dict[str, Any] = json.loads(_journal(target).read_bytes())
    except FileNotFoundError:
        if _part(target).stat().st_size == 0:
            return _Progress(0, 0)
        raise PartFileError(
            f"{_part(target)} has no journal, so it may belong to another program. "
            "Move it, choose another output, or pass --restart to overwrite it."
        ) from None
    except ValueError as error:
        raise PartFileError(
            f"{_journal(target)} is damaged: {error}. Pass --restart to begin anew, or choose another output."
        ) from error
    changed = sorted(key for key in {*job, *state["job"]} if job.get(key) != state["job"].get(key))
    if changed:
        raise PartFileError(
            f"{_part(target)} is of another job: {', '.join(changed)} changed. "
            "Choose another output, or pass --restart to begin anew."
        )
    return _Progress(state["queries"], state["bytes"])


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART_SUFFIX)


def _journal(target: Path) -> Path:
    return target.with_name(target.name + JOURNAL_SUFFIX)
