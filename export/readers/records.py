"""Tables with named columns (JSON Lines, CSV or Parquet), such as a table of label metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from astec.export.console import Advance, byte_progress
from astec.export.readers.columns.csv_column import csv_rows, is_csv
from astec.export.readers.columns.parquet_column import is_parquet, parquet_batches
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.jsonl import parse_object
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.streams.stored_file import named_input, stored_bytes

NumberedRecord = tuple[int, dict[str, Any]]
_EXAMPLE: Final = '{"label": ..., "COLUMN": ...}'


def read_records(path: Path) -> Iterator[NumberedRecord]:
    """Stream the rows of a table: the number of the line on which a row ends, and its values by column name.

    Parquet has no lines: there it is the number of the row. A field of CSV is a string, or None where it is empty.

    Raises:
        DataError: the file cannot be read, or has a bad line; names the first.
    """
    path = named_input(path)
    if path.is_dir():
        raise DataError(path, None, "is a folder", "Pass one file")
    if is_parquet(path):
        read = _parquet_records
    elif is_csv(path):
        read = _csv_records
    else:
        read = _json_records
    with byte_progress(f"reading {path.name}", stored_bytes(path)) as advance:
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
    records = (record for batch in parquet_batches(path, advance) for record in batch.to_pylist())
    return enumerate(records, 1)
