"""Tab-separated text and labels: `red shoes<TAB>shoes;red shoes sale`."""

from __future__ import annotations

from collections.abc import Callable

from astec.export.readers.errors import BadLineError
from astec.export.readers.formats.header import Header
from astec.export.readers.formats.label_cell import LabelSplitter
from astec.export.readers.lines import check_one_line
from astec.export.readers.row import Row

WITHOUT_HEADER = Header(text=0, labels=1)


def row_parser(splitter: LabelSplitter, header: Header = WITHOUT_HEADER) -> Callable[[str], Row]:
    """Return the function that reads the text and labels of one line.

    It raises BadLineError where a line does not have exactly one tab, holds the end of a line of another system, or a
    label has a quote that is not closed.

    Args:
        splitter: splits the field of labels.
        header: the order of the two fields.
    """
    split, (text, labels) = splitter.split, header

    def parse_row(line: str) -> Row:
        fields = line.split("\t")
        if "\r" in line:
            check_one_line(line)
        if len(fields) == 2:
            return Row(fields[text], split(fields[labels]))
        if len(fields) == 1:
            raise BadLineError("no tab separates a text from its labels")
        raise BadLineError(
            f"{len(fields)} tab-separated fields, not 2 (text and labels; above more columns, a first line with their "
            "names is needed, such as query, labels and clicks)"
        )

    return parse_row


def parse_query(line: str) -> str:
    """Return the text of one line: everything before its tab, or the whole line.

    Raises:
        BadLineError: the line has several tabs, so that it is unknown which field is the text.
    """
    text, _, rest = line.partition("\t")
    if "\t" in rest:
        raise BadLineError(
            f"{line.count(chr(9)) + 1} tab-separated fields, and no header says which is the text (a first line with "
            "query or text above it; or cut -f1 FILE > NEW cuts the first one out)"
        )
    return text
