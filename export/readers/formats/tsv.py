"""Tab-separated text and labels: `red shoes<TAB>shoes;red shoes sale`."""

from __future__ import annotations

from astec.export.readers.errors import BadLineError
from astec.export.readers.row import Row, distinct_labels


def parse_row(line: str) -> Row:
    """Read the text and labels of one line.

    Raises:
        BadLineError: the line does not have exactly one tab.
    """
    fields = line.split("\t")
    if len(fields) == 2:
        return Row(fields[0], distinct_labels(fields[1].split(";")))
    if len(fields) == 1:
        raise BadLineError("no tab separates a text from its labels")
    raise BadLineError(f"{len(fields)} tab-separated fields, not 2 (text and labels)")


def parse_query(line: str) -> str:
    """Return the text of one line: everything before the first tab, or the whole line."""
    return line.partition("\t")[0]
