"""The formats whose rows hold a text: one row per line; blank lines are ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from astec.export.console import Advance
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError
from astec.export.readers.formats import fasttext, jsonl, tsv
from astec.export.readers.formats.header import Header, find_header
from astec.export.readers.formats.label_cell import DEFAULT_SEPARATOR, LabelSplitter
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.notices import Notices, say, say_repeated_header
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.row import Row

_HEAD_LINES: Final = 20
TextFormatName = Literal["jsonl", "tsv", "fasttext"]


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The parsers of a format: of a line into a row, and of a line into a query alone. Both raise BadLineError."""

    parse_row: Callable[[str], Row]
    parse_query: Callable[[str], str]


def text_format(
    name: TextFormatName,
    options: ReadOptions,
    notices: Notices,
    *,
    header: Header | None = None,
    key: str | None = None,
) -> TextFormat:
    """Return the parsers of a format.

    Args:
        name: the format.
        options: may name what separates the labels of TSV.
        notices: gets what the parsers notice.
        header: the order of the fields of TSV.
        key: the key of a query in JSON Lines; None: a usual one.
    """
    if name == "jsonl":
        return TextFormat(
            lambda line: jsonl.parse_row(line, notices), lambda line: jsonl.parse_query(line, notices, key)
        )
    if name == "fasttext":
        return TextFormat(fasttext.parse_row, fasttext.parse_query)
    splitter = LabelSplitter(options.label_separator, notices)
    return TextFormat(tsv.row_parser(splitter, header or tsv.WITHOUT_HEADER), tsv.parse_query)


class TextDataset(Dataset):
    """Rows of JSON Lines, TSV or fastText."""

    def __init__(self, path: Path, format_name: TextFormatName, options: ReadOptions = AS_FOUND) -> None:
        self.format_name = format_name
        self.paths = (path,)
        self._encoding, self._notices = options.encoding, Notices()
        self._header = _find_header(path, options.encoding) if format_name == "tsv" else None
        self._parse = text_format(format_name, options, self._notices, header=self._header).parse_row

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        (path,) = self.paths
        lines = enumerate(read_lines(path, advance, self._encoding), 1)
        header = None if self._header is None else next(line for _, line in lines if line.strip())
        repeated = 0
        for number, line in lines:
            if line == header:
                repeated += 1
                continue
            if not line.strip(b" "):
                continue
            entry: Row | BadLine
            try:
                entry = self._parse(decode_line(line))
            except BadLineError as error:
                entry = BadLine(path, number, str(error))
            yield entry
        if repeated:
            say_repeated_header(path, repeated)
        self._notices.say(path)


def _find_header(path: Path, encoding: str | None) -> Header | None:
    """Return the header of a TSV file, and say so; None if its first line is a row."""
    lines = islice(filter(bytes.strip, read_lines(path, encoding=encoding)), _HEAD_LINES)
    head = [line.decode(errors="replace").split("\t") for line in lines]
    header = find_header(head[0])
    if header is not None:
        first = "\t".join(head[0])
        say(path, f"the first line, {first!r}, is taken as a header, not as a row")
    elif _seem_swapped(head):
        say(
            path,
            f"the first fields hold {DEFAULT_SEPARATOR!r} and the second ones do not, and the first is read as the "
            "text; if labels come first, put a line labels<TAB>text above them",
        )
    return header


def _seem_swapped(head: list[list[str]]) -> bool:
    """Return whether at least half of the first lines hold several labels in the field of texts, and none in theirs."""
    fields = [line for line in head if len(line) == 2]
    several = sum(DEFAULT_SEPARATOR in text for text, _ in fields)
    return several * 2 >= len(head) and not any(DEFAULT_SEPARATOR in labels for _, labels in fields)
