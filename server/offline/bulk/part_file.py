"""An output on its way: what is written so far, and a journal that says how much of it is good.

A process may be killed between any two instructions, and the machine may lose its power. The journal is replaced as a
whole, after what it speaks of is on the disk; what the part file has beyond that is cut off when it is continued.
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
from astec.server.offline.bulk.answer_formats import AnswerFormat

PART_SUFFIX: Final = ".part"
JOURNAL_SUFFIX: Final = ".part.journal"
_CHECKPOINT_S: Final = 0.5


class PartFileError(ValueError):
    """A part file that this job must not continue."""


class _Progress(NamedTuple):
    """Queries answered, and the bytes of their answers."""

    num_queries: int
    num_bytes: int


class PartFile:
    """The answers so far. Made by `open_part_file`.

    Attributes:
        num_queries: queries whose answers are in it.
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
        """Add the answers to so many queries more."""
        self._stream.write(content)
        self.num_queries += num_queries
        if monotonic() - self._saved_s > _CHECKPOINT_S:
            self.save()

    def save(self) -> None:
        """Bring all of it to the disk, so that no more than what follows can be lost."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        state = {"job": self._job, "queries": self.num_queries, "bytes": self._stream.tell()}
        write_file_atomically(_journal(self._target), json.dumps(state).encode())
        self._saved_s = monotonic()

    def publish(self, answer_format: AnswerFormat) -> None:
        """Give the output its name: all queries are answered."""
        self.save()
        answer_format.publish(_part(self._target), self._target)
        _journal(self._target).unlink()

    def discard(self) -> None:
        """Remove it: nothing good can come of it."""
        _part(self._target).unlink()
        _journal(self._target).unlink()


@contextmanager
def open_part_file(target: Path, job: Mapping[str, object], restart: bool) -> Iterator[PartFile]:
    """The part file of `target`: the one that a job left there, or a new one.

    Args:
        target: The output.
        job: All that the answers depend on, as JSON has it; only the same job is continued.
        restart: Begin anew whatever is there.

    Raises:
        PartFileError: Another process writes it, or it is another job's.
    """
    descriptor = os.open(_part(target), os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as stream:
        _lock(stream, target)
        done = _Progress(0, 0) if restart else _progress(target, job)
        if os.fstat(descriptor).st_size < done.num_bytes:  # Whoever shortened it, all can be computed again.
            done = _Progress(0, 0)
        yield PartFile(target, stream, job, done)


def _lock(stream: IO[bytes], target: Path) -> None:
    """Keep the file for this process, until it is closed."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have got its name as an output just before it was locked.
        is_free = os.path.samestat(os.fstat(stream.fileno()), _part(target).stat())
    except (BlockingIOError, FileNotFoundError):
        is_free = False
    if not is_free:
        raise PartFileError(f"{_part(target)}: another process writes it. Wait for that, or choose another output.")


def _progress(target: Path, job: Mapping[str, object]) -> _Progress:
    try:
        state: dict[str, Any] = json.loads(_journal(target).read_bytes())
    except FileNotFoundError:
        if _part(target).stat().st_size == 0:
            return _Progress(0, 0)
        raise PartFileError(
            f"{_part(target)} has no journal, so it may be somebody else's. "
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
