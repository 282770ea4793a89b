"""The raw texts of the extreme classification repository: `trn.json.gz` and `tst.json.gz`, with `lbl.json.gz`.

A text: `{"uid": ..., "title": "red shoes", "content": "...", "target_ind": [3, 17], "target_rel": [1.0, 1.0]}`; the
text is the title. A label: `{"uid": ..., "title": "shoes"}`; `target_ind` are numbers of its lines, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from astec.export.console import Advance
from astec.export.readers.columns.cells import weighted_row
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.id_names import distinct_names
from astec.export.readers.formats.jsonl import check_encodable, parse_object, type_name
from astec.export.readers.formats.sparse_row import check_ids
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.notices import say
from astec.export.readers.row import Row
from astec.export.readers.streams.compression import find_beside

LABEL_FILE: Final = "lbl.json"
_KEYS: Final = ("title", "target_ind")
_EXAMPLE: Final = '{"title": ..., "target_ind": [...]}'


def is_xc_text(path: Path, encoding: str | None = None) -> bool:
    """Return whether the first line of a file of JSON Lines is such a text."""
    first = next((line for line in read_lines(path, encoding=encoding) if line.strip()), b"")
    try:
        record = parse_object(decode_line(first))
    except BadLineError:
        return False
    return all(key in record for key in _KEYS)


class XcTextDataset(Dataset):
    """Raw texts, whose labels are the titles of the label file beside; relevances are weights.

    Raises:
        DataError: the label file is missing or has a bad line.
    """

    format_name = "xc-text"

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.paths = (path,)
        self._encoding = encoding
        self._names = _read_titles(_label_file(path), encoding)
        self.label_names = self._names
        say(path, "texts are titles; their content is not read")

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        (path,) = self.paths
        for number, line in enumerate(read_lines(path, advance, self._encoding), 1):
            if not line.strip():
                continue
            entry: Row | BadLine
            try:
                entry = self._row(parse_object(decode_line(line), _EXAMPLE))
            except BadLineError as error:
                entry = BadLine(path, number, str(error))
            yield entry

    def _row(self, record: dict[str, Any]) -> Row:
        label_ids = _label_ids(record)
        check_ids(label_ids, len(self._names), "label", LABEL_FILE)
        relevances = record.get("target_rel", [1.0] * len(label_ids))
        if not isinstance(relevances, list) or len(relevances) != len(label_ids):
            raise BadLineError('"target_rel" is not a list of as many numbers as "target_ind"')
        names = [self._names[label] for label in label_ids]
        return weighted_row(_title(record), zip(names, relevances, strict=True))


def _label_ids(record: dict[str, Any]) -> list[int]:
    label_ids = record.get("target_ind")
    if not isinstance(label_ids, list):
        raise BadLineError(f'"target_ind" is {type_name(label_ids)}, not a list of label ids')
    for label in label_ids:
        if not isinstance(label, int) or isinstance(label, bool) or label < 0:
            raise BadLineError(f'"target_ind" holds {str(label)[:40]!r}, which is no label id')
    return label_ids


def _title(record: dict[str, Any]) -> str:
    title = record.get("title")
    if not isinstance(title, str):
        raise BadLineError(f'"title" is {type_name(title)}, not a string')
    check_encodable(title)
    return title


def _label_file(path: Path) -> Path:
    file = find_beside(path, LABEL_FILE)
    if file is not None:
        return file
    problem = f"{LABEL_FILE}.gz, the texts of its labels, is missing"
    raise DataError(path, None, problem, "Put it beside, as the repository publishes it")


def _read_titles(path: Path, encoding: str | None) -> list[str]:
    """Read the title of every label; an empty or repeated one gets its number, so that each label keeps a name."""
    titles: list[str] = []
    for number, line in enumerate(read_lines(path, encoding=encoding), 1):
        if not line.strip():
            continue
        try:
            titles.append(_title(parse_object(decode_line(line), '{"title": ...}')).strip())
        except BadLineError as error:
            raise DataError(path, number, str(error), "Use the file that came with the data") from None
    return distinct_names(titles)
