"""Rows with columns, of JSON Lines, CSV or Parquet: tables about things, not texts to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from astec.export.console import Advance, byte_progress
from astec.export.readers.csv_column import csv_rows, is_csv
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.jsonl import parse_object
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.parquet_column import is_parquet, readable_parquet

NumberedRecord = tuple[int, dict[str, Any]]
_BATCH_ROWS: Final = 8192
_EXAMPLE: Final = '{"label": ..., "COLUMN": ...}'


def read_records(path: Path) -> Iterator[NumberedRecord]:
    """Stream the rows of a table, each a dictionary by name of column, and the line that it ends on.

    Of Parquet, which has no lines, it is the number of the row. A field of CSV is a string, or None where it is empty.

    Raises:
        DataError: a file that cannot be read, or the first bad line.
    """
    if path.is_dir():
        raise DataError(path, None, "is a folder", "Pass one file")
    if is_parquet(path):
        read = _parquet_records
    elif is_csv(path):
        read = _csv_records
    else:
        read = _json_records
    total_bytes = path.stat().st_size if path.exists() else 0
    with byte_progress(f"reading {path.name}", total_bytes) as advance:
        yield from read(path, advance)


def _json_records(path: Path, advance: Advance) -> Iterator[NumberedRecord]:
    for number, line in enumerate(read_lines(path, advance), 1):
        if line.strip():
            try:
                yield number, parse_object(decode_line(line), _EXAMPLE)
            except BadLineError as error:
                raise DataError(path, number, str(error), "Fix or remove the line") from None


def _csv_records(path: Path, advance: Advance) -> Iterator[NumberedRecord]:
    rows = csv_rows(path, advance)
    line, names = next(rows, (0, []))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(path, line, f"two columns have the name {repeated[0]!r}", "Rename or remove one of them")
    for line, row in rows:
        if len(row) != len(names):
            problem = f"the row has {len(row)} fields, and the first row names {len(names)}"
            raise DataError(path, line, problem, "Fix or remove the row")
        yield line, {name: field or None for name, field in zip(names, row, strict=True)}


def _parquet_records(path: Path, advance: Advance) -> Iterator[NumberedRecord]:
    with readable_parquet(path):
        import pyarrow.parquet

        size_bytes, number = path.stat().st_size, 0
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
                advance(size_bytes * len(batch) // file.metadata.num_rows)
