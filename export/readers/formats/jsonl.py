"""JSON Lines: `{"text": "red shoes", "labels": ["shoes", "red shoes sale"]}`.

The clicks of a pair are the value of its label, `{"labels": {"shoes": 12}}`, or one of `"weights": [12, 3]`; those of
all pairs of a row are its `clicks`, `count`, `counts` or `weight`. Other keys are noticed.
"""

from __future__ import annotations

import json
from typing import Any, Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.lines import check_no_nul
from astec.export.readers.notices import Notices
from astec.export.readers.row import Row, check_weight, distinct_labels, tuple_of_weights, weighted_labels

_JSON_TYPES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}
_EXAMPLE: Final = '{"text": ..., "labels": [...]}'
_COUNT_KEYS: Final = ("clicks", "count", "counts", "weight")
KNOWN_KEYS: Final = frozenset({"text", "labels", "weights", *_COUNT_KEYS})
_MOST_SHOWN_KEYS: Final = 5
_SHOWN_CHARS: Final = 40
_OTHER_KEYS: Final = "; --text-column and --label-column read other keys"


def parse_row(line: str, notices: Notices) -> Row:
    """Read the text and labels of one line, and their weights; keys that are not understood are given to `notices`.

    The weights of single pairs count before one of the row, which may be their sum.

    Raises:
        BadLineError: the line is not a JSON object, or has no `text` and `labels` of the right types, or a weight that
            is no number above 0.
    """
    record = parse_object(line)
    text = _text(record, _OTHER_KEYS)
    weights: tuple[float, ...] | None = None
    if isinstance(record.get("labels"), dict) or "weights" in record:
        labels, weights = _weighed_labels(record)
    else:
        labels = _labels(record)
        if len(record) > 2:
            weights = tuple_of_weights([_row_weight(record)] * len(labels))
    if "\\u" in line:  # a decoded line can hold half a character or a NUL only as an escape
        check_encodable(text, *labels)
    if len(record) > 2:
        notices.unknown_keys(_unread_keys(record))
    return Row(text, labels, weights)


def parse_query(line: str, notices: Notices, key: str | None = None) -> str:
    """Read the text of one line; its labels are ignored, and other keys are given to `notices`.

    Args:
        line: the line.
        notices: gets keys that are not understood.
        key: of the text; None: `text`, or `query` where there is no `text`.

    Raises:
        BadLineError: the line is not a JSON object, or has no such key with a string.
    """
    record = parse_object(line)
    if key is None:
        key = "query" if "query" in record and "text" not in record else "text"
    text = _text(record, "; --column names another key", key)
    if "\\u" in line:
        check_encodable(text)
    if len(record) > 1 + ("labels" in record):
        notices.unknown_keys([name for name in record if name not in KNOWN_KEYS and name != key])
    return text


def parse_object(line: str, example: str = _EXAMPLE) -> dict[str, Any]:
    """Read the JSON object of one line.

    Raises:
        BadLineError: the line is not JSON, or not an object; the message shows `example`.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        shown = line[error.pos : error.pos + _SHOWN_CHARS]
        raise BadLineError(
            f"malformed JSON: {error.msg} at column {error.colno}" + (f", before {shown!r}" if shown else "")
        ) from None
    except (ValueError, RecursionError) as error:  # an integer of over 4300 digits; brackets nested too deeply
        raise BadLineError(f"JSON that cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise BadLineError(f"the line is {type_name(record)}, not an object {example}")
    return record


def _text(record: dict[str, Any], remedy: str, key: str = "text") -> str:
    text = record.get(key)
    if isinstance(text, str):
        return text
    raise BadLineError(_mistyped(key, record, "a string", remedy))


def _labels(record: dict[str, Any]) -> tuple[str, ...]:
    labels = record.get("labels")
    if not isinstance(labels, list):
        problem = _mistyped("labels", record, "a list of strings", _OTHER_KEYS)
        is_string = isinstance(labels, str)
        raise BadLineError(problem + (" (--label-column labels splits it at ;)" if is_string else ""))
    try:
        return distinct_labels(labels)
    except TypeError:  # a label is not a string, which is rare: the labels are checked one by one only now
        return distinct_labels([_label_text(label) for label in labels])


def _weighed_labels(record: dict[str, Any]) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """Return the labels and weights of a row that has a weight for each label."""
    labels, weights = record.get("labels"), record.get("weights")
    if isinstance(labels, dict):
        if "weights" in record:
            raise BadLineError('"labels" holds weights already, so that "weights" cannot be used')
        return weighted_labels(labels, [_weight(value, f"the weight of {key!r}") for key, value in labels.items()])
    names = [_label_text(label) for label in labels] if isinstance(labels, list) else _labels(record)
    if not isinstance(weights, list):
        raise BadLineError(_mistyped("weights", record, "a list of numbers"))
    if len(weights) != len(names):
        raise BadLineError(f'"weights" holds {len(weights)} numbers for {len(names)} labels')
    return weighted_labels(names, [_weight(weight, 'a number in "weights"') for weight in weights])


def _unread_keys(record: dict[str, Any]) -> list[str]:
    """Return the keys that are not read; of several counts of a row, the first of `_COUNT_KEYS` is read."""
    further_counts = [key for key in _COUNT_KEYS if key in record][1:]
    return [key for key in record if key not in KNOWN_KEYS or key in further_counts]


def _row_weight(record: dict[str, Any]) -> float:
    """Return the weight of all pairs of a row; 1 where it has none."""
    key = next(filter(record.__contains__, _COUNT_KEYS), None)
    return 1.0 if key is None else _weight(record[key], f'"{key}"')


def _weight(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadLineError(f"{what} is {type_name(value)}, not a number")
    try:
        return check_weight(float(value), what)
    except OverflowError:  # an integer of hundreds of digits
        raise BadLineError(f"{what} is too large for a weight") from None


def _label_text(label: object) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    shown = "" if label is None else f", {json.dumps(label, ensure_ascii=False)[:_SHOWN_CHARS]},"
    raise BadLineError(f'"labels" holds {type_name(label)}{shown} and not only strings or whole numbers')


def _mistyped(key: str, record: dict[str, Any], expected: str, remedy: str = "") -> str:
    if key not in record:
        shown = ", ".join(f'"{name[:40]}"' for name in list(record)[:_MOST_SHOWN_KEYS])
        return f'"{key}" is missing{f" (the line has {shown}{remedy})" if shown else ""}'
    return f'"{key}" is {type_name(record[key])}, not {expected}'


def type_name(value: object) -> str:
    """Return the type of a JSON value, in words for a message."""
    return _JSON_TYPES.get(type(value), "a number")


def check_encodable(*texts: str) -> None:
    """Check that the texts can be encoded as UTF-8, and hold no NUL.

    Raises:
        BadLineError: a text holds half a character (a lone surrogate), or a NUL.
    """
    for text in texts:
        check_no_nul(text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = ord(text[error.start])
            raise BadLineError(f"the escape \\u{half:04x} is half a character (a lone surrogate)") from None
