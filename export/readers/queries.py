"""Queries without labels, for offline scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from astec.export.artifact.text.bags import Query
from astec.export.console import Advance, byte_progress
from astec.export.readers.columns.column_choice import USUAL_NAMES
from astec.export.readers.columns.csv_column import CsvColumn, is_csv
from astec.export.readers.columns.dialect import looks_like_table
from astec.export.readers.columns.parquet_column import ParquetColumn, is_parquet
from astec.export.readers.columns.tsv_column import TsvColumn
from astec.export.readers.dataset import LinesFormat
from astec.export.readers.detection import detect_queries_format, read_head
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.header import find_header
from astec.export.readers.formats.npy import Vectors, is_npy
from astec.export.readers.formats.sparse_file import RowCountError, SparseFile
from astec.export.readers.formats.sparse_row import parse_bag, shortened
from astec.export.readers.formats.text_lines import text_format
from astec.export.readers.formats.xc import NEW_HEADER, OLD_HEADER, split_labels
from astec.export.readers.lines import decode_line, read_line_blocks, read_lines
from astec.export.readers.notices import Notices, say
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.streams.stored_file import named_input, stored_bytes

NumberedLines = Callable[[Advance], Iterator[tuple[int, bytes]]]
Reading = Callable[[Advance], Iterator[Query]]


def open_queries(
    path: Path, *, column: str | None = None, progress: bool = True, options: ReadOptions = AS_FOUND
) -> Iterator[Query]:
    """Stream the queries of a file: plain text, one per line, a table, or any format of `open_dataset`, labels ignored.

    Queries come in the order of the lines; a blank line is an empty query (in JSON Lines and CSV it is ignored).

    Args:
        path: the file, or a pipe (`-` for stdin); of a pair of sparse files, the one with the features.
        column: the name of the column of a CSV or Parquet file, or of a key of JSON Lines; None: `query`, `text` or the
            only column, or the key `text` or `query`.
        progress: show a progress bar, on a terminal.
        options: what the user says about the file.

    Raises:
        DataError: the file is empty or cannot be opened (raised at once), or has a bad line (raised on reaching it).
    """
    path = named_input(path)
    if path.is_dir():
        raise DataError(path, None, "is a folder", "Pass one file of queries")
    return _with_progress(path, _reading(path, column, options), shown=progress)


def _with_progress(path: Path, reading: Reading, *, shown: bool) -> Iterator[Query]:
    with byte_progress(f"reading {path.name}", stored_bytes(path), shown=shown) as advance:
        yield from reading(advance)


def _reading(path: Path, column: str | None, options: ReadOptions) -> Reading:
    if is_npy(path):
        return Vectors(path).queries
    if is_parquet(path):
        return ParquetColumn.open(path, column).queries
    if is_csv(path) or options.delimiter is not None:
        return CsvColumn.open(path, column, options).queries
    name, notices = detect_queries_format(path, options.encoding), Notices()
    if name in ("plain", "tsv"):
        head = read_head(path, options.encoding)
        has_header = name == "tsv" and column is None and find_header(head[0].split("\t")) is not None
        if has_header or looks_like_table(head, USUAL_NAMES if column is None else [column]):
            say(path, f"the first line, {shortened(head[0])}, is taken as the names of columns, not as a query")
            is_tabbed = name == "tsv" and '"' not in "".join(head)
            return (TsvColumn if is_tabbed else CsvColumn).open(path, column, options).queries
    if column is not None and name != "jsonl":
        remedy = "Leave --column out, or pass a CSV, Parquet or JSON Lines file"
        raise DataError(path, None, f"a column {column!r} is asked for, but the file has no columns", remedy)
    if name == "plain":
        return partial(_plain_texts, path, options.encoding)
    lines, parse = _lines_and_parser(path, name, options, notices, column)
    return lambda advance: _parse_all(path, lines(advance), parse, notices)


def _plain_texts(path: Path, encoding: str | None, advance: Advance) -> Iterator[Query]:
    """Stream texts, one per line; a block of lines is decoded at once, unless a line of it is bad."""
    number = 1
    for lines in read_line_blocks(path, advance, encoding):
        if lines:
            try:
                texts = b"\n".join(lines).decode().split("\n")
            except UnicodeDecodeError:
                yield from (_parsed(path, bad, line, str.strip) for bad, line in enumerate(lines, number))
            else:
                yield from map(str.strip, texts)
        number += len(lines)


def _parse_all(
    path: Path, lines: Iterator[tuple[int, bytes]], parse: Callable[[str], Query], notices: Notices
) -> Iterator[Query]:
    try:
        for number, line in lines:
            yield _parsed(path, number, line, parse)
    except RowCountError as error:
        raise DataError(path, error.line, str(error), "Copy or download the file again") from None
    notices.say(path)


def _parsed(path: Path, number: int, line: bytes, parse: Callable[[str], Query]) -> Query:
    try:
        return parse(decode_line(line))
    except BadLineError as error:
        raise DataError(path, number, str(error), "Fix or remove the line") from None


def _lines_and_parser(
    path: Path, name: LinesFormat, options: ReadOptions, notices: Notices, column: str | None
) -> tuple[NumberedLines, Callable[[str], Query]]:
    """Return what reads the file's numbered lines, and what parses a line into a query; `column` is a key of JSON."""
    encoding = options.encoding
    if name == "xc-old":
        file = SparseFile.open(path, OLD_HEADER, encoding)
        return file.lines, lambda line: parse_bag(split_labels(line)[1], file.counts[1])
    if name == "xc-new":
        file = SparseFile.open(path, NEW_HEADER, encoding)
        return file.lines, lambda line: parse_bag(line, file.counts[1])
    parse = text_format(name, options, notices, key=column).parse_query
    return partial(_json_lines if name == "jsonl" else _text_lines, path, encoding), parse


def _text_lines(path: Path, encoding: str | None, advance: Advance) -> Iterator[tuple[int, bytes]]:
    return enumerate(read_lines(path, advance, encoding), 1)


def _json_lines(path: Path, encoding: str | None, advance: Advance) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in _text_lines(path, encoding, advance) if line.strip())
