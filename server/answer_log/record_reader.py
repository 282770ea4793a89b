"""Reads the records of an answer log back, from whichever files its workers have left."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from astec.server.answer_log.log_file import LINES_SUFFIX, PARQUET_SUFFIX, PART_SUFFIX, final_path

_BATCH_ROWS: Final = 10_000


class RecordReaderError(Exception):
    """The files cannot be read; the message says why and what to do."""


def find_files(folder: Path) -> list[Path]:
    """Return the files of an answer log, in order of the time at which they began.

    A part is left out if the finished file is there, too: its worker was killed between the two.

    Raises:
        RecordReaderError: There is none.
    """
    suffixes = (LINES_SUFFIX, PARQUET_SUFFIX, PART_SUFFIX)
    names = sorted(path for path in folder.glob("answers-*") if path.name.endswith(suffixes))
    found = [path for path in names if not (path.name.endswith(PART_SUFFIX) and _is_finished(path))]
    if not found:
        raise RecordReaderError(f"{folder} has no file of an answer log; name the folder of astec-serve --log-answers")
    return found


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file.

    A worker that was killed leaves a part whose last block, or last line, may lack its end: it is left out.

    Raises:
        RecordReaderError: The file is damaged, or Parquet and pyarrow is not installed.
    """
    if path.name.endswith(PARQUET_SUFFIX):
        yield from _read_parquet(path)
        return
    try:
        with gzip.open(path) as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield orjson.loads(line)
    except (EOFError, zlib.error, gzip.BadGzipFile, orjson.JSONDecodeError) as error:
        if not path.name.endswith(PART_SUFFIX):
            raise RecordReaderError(f"{path} is damaged: {error}. Move it out of the folder to go on.") from error


def _is_finished(part: Path) -> bool:
    return any(final_path(part, suffix).exists() for suffix in (LINES_SUFFIX, PARQUET_SUFFIX))


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise RecordReaderError(f"{path}: Parquet needs pyarrow (pip install 'astec[bulk]')") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are of these types.
        raise RecordReaderError(f"{path} is damaged: {error}. Move it out of the folder to go on.") from error
