"""The cells of one row of a table: a text, labels in one of several forms, and how often they were chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from html.entities import html5
from typing import Final, NamedTuple

from astec.export.readers.errors import BadLineError
from astec.export.readers.formats.jsonl import check_encodable, type_name
from astec.export.readers.row import Row, check_weight, distinct_labels, weighted_labels

DEFAULT_SEPARATOR: Final = ";"
_NUMBERS: Final = (int, float)
_find_entities = re.compile(r"&(#\w+;|\w+;)").finditer


NO_WEIGHT: Final = object()


class Cells(NamedTuple):
    """The cells of a row that are read, with the number of the line on which it ends; None for a missing value.

    `weight` is NO_WEIGHT where the table has no column of weights.
    """

    line: int
    text: object
    labels: object
    weight: object


def to_row(cells: Cells, separator: str | None) -> Row:
    """Turn the cells into a row.

    Labels are a string, which `separator` may separate into several; an integer; a list of these; or an object from
    labels to weights. A weight is a number for all labels of the row, or a list of numbers, one for each label; where
    labels are separated in one string, so may the numbers be. Labels with weight 0 are left out.

    Args:
        cells: of the row.
        separator: what separates labels and weights in a string; see `split_cell`.

    Raises:
        BadLineError: a cell holds what it may not.
    """
    text = _text(cells.text)
    if isinstance(cells.labels, dict):
        if cells.weight is not NO_WEIGHT:
            raise BadLineError("the labels have weights of their own, and there is a weight column besides")
        return weighted_row(text, cells.labels.items())
    labels = _labels(cells.labels, separator)
    if cells.weight is NO_WEIGHT or (type(cells.weight) in _NUMBERS and cells.weight == 1):
        return Row(text, distinct_labels(labels))
    weight = _split_weights(cells.weight, separator)
    if not isinstance(weight, list):
        return weighted_row(text, ((label, weight) for label in distinct_labels(labels))) if labels else Row(text, ())
    if len(weight) != len(labels):
        raise BadLineError(f"there are {len(labels)} labels and {len(weight)} weights")
    return weighted_row(text, zip(labels, weight, strict=True))


def to_weight(value: object) -> float:
    """Return a weight: a number, or a string that is one; 0 says that the label was not chosen.

    Raises:
        BadLineError: it is no such number, or one that cannot be added up with others.
    """
    if isinstance(value, bool) or not isinstance(value, (*_NUMBERS, Decimal, str)):
        raise BadLineError(f"the weight is {type_name(value)}, not a number")
    try:
        weight = float(value)
    except (ValueError, OverflowError):
        raise BadLineError(f"the weight {str(value)[:40]!r} is not a number") from None
    return check_weight(weight, "the weight") if weight else 0.0


def split_cell(cell: str, separator: str | None) -> list[str]:
    """Split a string at a separator.

    Args:
        cell: the string.
        separator: empty: the string is one label; None: `;`, but not the one with which an HTML entity such as `&amp;`
            ends.
    """
    if separator is not None:
        return cell.split(separator) if separator else [cell]
    if "&" not in cell:
        return cell.split(DEFAULT_SEPARATOR)
    parts, begin = [], 0
    ends = {match.end() - 1 for match in _find_entities(cell) if match[1] in html5 or match[1][0] == "#"}
    for position, character in enumerate(cell):
        if character == DEFAULT_SEPARATOR and position not in ends:
            parts.append(cell[begin:position])
            begin = position + 1
    return [*parts, cell[begin:]]


def _text(cell: object) -> str:
    if not isinstance(cell, str):
        raise BadLineError(f"the text is {type_name(cell)}, not a string")
    _check_characters(cell)
    return cell.strip()


def _labels(cell: object, separator: str | None) -> list[str]:
    """Return the labels of a cell; empty strings too, so that weights beside them keep their places."""
    if isinstance(cell, str):
        _check_characters(cell)
        return split_cell(cell, separator)
    if isinstance(cell, list):
        return list(map(_label, cell))
    return [] if cell is None else [_label(cell)]


def _label(label: object) -> str:
    if isinstance(label, str):
        _check_characters(label)
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    raise BadLineError(f"a label is {type_name(label)}, not a string")


def _split_weights(cell: object, separator: str | None) -> object:
    """Split weights in one string as labels are split; a string of one weight stays as it is."""
    if not isinstance(cell, str):
        return cell
    parts = split_cell(cell, separator)
    return parts if len(parts) > 1 else cell


def weighted_row(text: str, pairs: Iterable[tuple[object, object]]) -> Row:
    """Return a row of the pairs of a label and its weight, without those of weight 0."""
    weighed = [(_label(label), to_weight(weight)) for label, weight in pairs]
    chosen = [(label, weight) for label, weight in weighed if weight]
    return Row(text, *weighted_labels([label for label, _ in chosen], [weight for _, weight in chosen]))


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise BadLineError(f"a NUL character is at position {text.index(chr(0)) + 1} of {text[:40]!r}")
    if not text.isascii():
        check_encodable(text)
