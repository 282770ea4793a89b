"""The formats whose rows hold a text: one row per line; blank lines are ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from astec.export.console import Advance
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError
from astec.export.readers.formats import fasttext, jsonl, tsv
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.row import Row

TextFormatName = Literal["jsonl", "tsv", "fasttext"]
_LINES_OF_KEYS: Final = 1_000  # that are looked at for keys that are not read


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The parsers of a format: of a line into a row, and of a line into a query alone. Both raise BadLineError."""

    parse_row: Callable[[str], Row]
    parse_query: Callable[[str], str]


TEXT_FORMATS: Final[dict[TextFormatName, TextFormat]] = {
    "jsonl": TextFormat(jsonl.parse_row, jsonl.parse_query),
    "tsv": TextFormat(tsv.parse_row, tsv.parse_query),
    "fasttext": TextFormat(fasttext.parse_row, fasttext.parse_query),
}


class TextDataset(Dataset):
    """Rows of JSON Lines, TSV or fastText."""

    def __init__(self, path: Path, format_name: TextFormatName) -> None:
        self.format_name = format_name
        self.paths = (path,)
        self._parse = TEXT_FORMATS[format_name].parse_row

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        (path,) = self.paths
        self.unread_keys = ()
        for number, line in enumerate(read_lines(path, advance), 1):
            if not line.strip(b" "):
                continue
            entry: Row | BadLine
            try:
                decoded = decode_line(line)
                if self.format_name == "jsonl" and number <= _LINES_OF_KEYS:
                    self.unread_keys = tuple(dict.fromkeys((*self.unread_keys, *jsonl.unread_keys(decoded))))
                entry = self._parse(decoded)
            except BadLineError as error:
                entry = BadLine(path, number, str(error))
            yield entry
