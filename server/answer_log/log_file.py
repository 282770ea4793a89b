"""A file of records: under the name `.part` while it grows, then finished and renamed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

PART_SUFFIX: Final = ".jsonl.gz.part"
LINES_SUFFIX: Final = ".jsonl.gz"
PARQUET_SUFFIX: Final = ".parquet"
_MODE = 0o600  # Queries are personal data.
_GZIP_LEVEL = 1

Finish = Callable[[Path], None]
"""Turns a part that is whole into its final form, and removes the part."""


class LogFile:
    """A file that grows by blocks of lines, each a gzip member of its own.

    Therefore a block whose end is missing, after a full disk or the end of the process, does not damage the others. The
    name has the time at which the file began, so that names in order are files in order, and the worker.

    Args:
        folder: Its folder.
        worker_id: The worker that writes it.

    Attributes:
        num_bytes: The bytes of its lines, before compression.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, folder: Path, worker_id: int) -> None:
        begun = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path = folder / f"answers-{begun}-worker{worker_id}{PART_SUFFIX}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _MODE)
        self._begun_s = monotonic()
        self._good_bytes = 0
        self.num_bytes = 0

    @property
    def age_s(self) -> float:
        """Seconds since the file began."""
        return monotonic() - self._begun_s

    def append(self, lines: bytes) -> None:
        """Write a block of lines, as a whole or not at all.

        Raises:
            OSError: It cannot be written; the file is as it was before.
        """
        block = memoryview(gzip.compress(lines, _GZIP_LEVEL, mtime=0))
        written = 0
        try:
            while written < len(block):
                written += os.write(self._descriptor, block[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._good_bytes)
            raise
        self._good_bytes += written
        self.num_bytes += len(lines)

    def finish(self, finish: Finish) -> None:
        """Close the file and turn it into its final form; a file without a block is removed.

        Raises:
            Exception: That did not succeed; the part is there still.
        """
        try:
            if self._good_bytes:
                os.ftruncate(self._descriptor, self._good_bytes)  # A block that failed may not have been cut off.
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
        if self._good_bytes:
            finish(self._path)
        else:
            self._path.unlink(missing_ok=True)


def rename_lines(part: Path) -> None:
    """Give a part its final name, as JSON Lines."""
    part.rename(final_path(part, LINES_SUFFIX))


def write_parquet(part: Path) -> None:
    """Write the records of a part as Parquet, under a hidden name that is then changed, and remove the part.

    All of it happens in pyarrow, without Python's global lock, which answers need.
    """
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    with gzip.open(part) as stream:
        lines = stream.read()
    table = pyarrow.json.read_json(
        pa.BufferReader(lines),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=_schema()),
    )
    target = final_path(part, PARQUET_SUFFIX)
    hidden = target.with_name(f".{target.name}.partial")
    try:
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            pyarrow.parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(target)
    except BaseException:
        with suppress(OSError):
            hidden.unlink()
        raise
    part.unlink()


def final_path(part: Path, suffix: str) -> Path:
    """Return the path of a part once it is finished."""
    return part.with_name(part.name.removesuffix(PART_SUFFIX) + suffix)


def _schema() -> object:
    import pyarrow as pa

    numbers = pa.list_(pa.float32())
    return pa.schema(
        [
            ("time", pa.timestamp("us", "UTC")),
            ("request_id", pa.string()),
            ("position", pa.int32()),
            ("query", pa.string()),
            ("features", pa.struct([("ids", pa.list_(pa.int32())), ("weights", numbers)])),
            ("query_hash", pa.string()),
            ("shown", pa.list_(pa.string())),
            ("scores", numbers),
            ("probabilities", numbers),
            ("model", pa.string()),
            ("version", pa.string()),
            ("worker", pa.int32()),
        ]
    )
