"""The cells of one row of a table: a text, labels in one of several forms, and how often they were chosen."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from astec.export.readers.errors import BadLineError
from astec.export.readers.formats.jsonl import check_encodable, type_name
from astec.export.readers.formats.label_cell import LabelSplitter
from astec.export.readers.row import Row, check_weight, distinct_labels, weighted_labels

_NUMBERS: Final = (int, float)
NO_WEIGHT: Final = object()


class Cells(NamedTuple):
    """The cells of a row that are read, with the number of the line on which it ends; None for a missing value.

    `weight` is NO_WEIGHT where the table has no column of weights.
    """

    line: int
    text: object
    labels: object
    weight: object


def to_row(cells: Cells, splitter: LabelSplitter) -> Row:
    """Turn the cells into a row.

    Labels are a string, which `splitter` may split into several; an integer; a list of these; or an object from
    labels to weights. A weight is a number for all labels of the row, or a list of numbers, one for each label; where
    labels are separated in one string, so may the numbers be. Labels with weight 0 are left out.

    Args:
        cells: of the row.
        splitter: splits labels, and weights, in one string.

    Raises:
        BadLineError: a cell holds what it may not.
    """
    text = _text(cells.text)
    if isinstance(cells.labels, dict):
        if cells.weight is not NO_WEIGHT:
            raise BadLineError("the labels have weights of their own, and there is a weight column besides")
        return weighted_row(text, cells.labels.items())
    labels = _labels(cells.labels, splitter)
    if cells.weight is NO_WEIGHT or (type(cells.weight) in _NUMBERS and cells.weight == 1):
        return Row(text, distinct_labels(labels))
    weight = _split_weights(cells.weight, splitter)
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


def _text(cell: object) -> str:
    if not isinstance(cell, str):
        raise BadLineError(f"the text is {type_name(cell)}, not a string")
    _check_characters(cell)
    return cell.strip()


def _labels(cell: object, splitter: LabelSplitter) -> list[str]:
    """Return the labels of a cell; empty strings too, so that weights beside them keep their places."""
    if isinstance(cell, str):
        _check_characters(cell)
        return splitter.parts(cell)
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


def _split_weights(cell: object, splitter: LabelSplitter) -> object:
    """Split weights in one string as labels are split; of one weight the string of it is returned."""
    if not isinstance(cell, str):
        return cell
    parts = splitter.parts(cell)
    return parts[0] if len(parts) == 1 else parts


def weighted_row(text: str, pairs: Iterable[tuple[object, object]]) -> Row:
    """Return a row of the pairs of a label and its weight, without those of weight 0."""
    weighed = [(_label(label), to_weight(weight)) for label, weight in pairs]
    chosen = [(label, weight) for label, weight in weighed if weight]
    return Row(text, *weighted_labels([label for label, _ in chosen], [weight for _, weight in chosen]))


def _check_characters(text: str) -> None:
    if not text.isascii() or "\0" in text:
        check_encodable(text)
