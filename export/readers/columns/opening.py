"""Opening a file as a table: Parquet by content, CSV by its name or its first row, JSON Lines if columns are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from astec.export.readers.columns.csv_column import csv_rows, is_csv
from astec.export.readers.columns.parquet_column import is_parquet
from astec.export.readers.columns.table_columns import has_usual_columns
from astec.export.readers.columns.table_file import CsvTable, JsonTable, ParquetTable, TableFile
from astec.export.readers.columns.xc_text import is_xc_text
from astec.export.readers.detection import detect_queries_format
from astec.export.readers.errors import DataError
from astec.export.readers.read_options import ReadOptions

_TAB = "\t"


def open_table(path: Path, options: ReadOptions) -> TableFile | None:
    """Open a file whose columns have names; None for a file in another format, such as JSON Lines or `text<TAB>labels`.

    Raises:
        DataError: the file cannot be read or is empty; or the options name columns of a file that has none.
    """
    if is_parquet(path):
        return ParquetTable(path)
    found = detect_queries_format(path, options.encoding)
    if found == "jsonl":
        is_table = options.names_columns and not is_xc_text(path, options.encoding)
        return JsonTable(path, options.encoding) if is_table else None
    if found not in ("plain", "tsv") and not is_csv(path):
        if options.names_columns:
            remedy = "Leave --text-column, --label-column and --weight-column out, or pass CSV, Parquet or JSON Lines"
            raise DataError(path, None, f"a column is named, but the format {found} has no columns", remedy)
        return None
    asked = options.names_columns or options.delimiter is not None
    if options.delimiter is None and found == "tsv" and not is_csv(path):
        options = replace(options, delimiter=_TAB)
    if asked or (is_csv(path) and found == "plain") or _names_columns(path, options):
        return CsvTable(path, options)
    return None


def _names_columns(path: Path, options: ReadOptions) -> bool:
    """Return whether the first row has usual names of columns: of a file with tabs, more than a text and labels."""
    try:
        names = next((row for _, row in csv_rows(path, options=options)), [])
    except DataError:
        return False
    return has_usual_columns(names) and (options.delimiter != _TAB or len(names) > 2)
