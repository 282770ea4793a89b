"""JSON Lines: `{"text": "red shoes", "labels": ["shoes", "red shoes sale"]}`; other keys are noticed."""

from __future__ import annotations

import json
from typing import Any, Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.lines import check_no_nul
from astec.export.readers.notices import Notices
from astec.export.readers.row import Row, distinct_labels

_JSON_TYPES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}
_EXAMPLE: Final = '{"text": ..., "labels": [...]}'
KNOWN_KEYS: Final = frozenset({"text", "labels"})
_MOST_SHOWN_KEYS: Final = 5


def parse_row(line: str, notices: Notices) -> Row:
    """Read the text and labels of one line; keys that are not understood are given to `notices`.

    Raises:
        BadLineError: the line is not a JSON object, or has no `text` and `labels` of the right types.
    """
    record = parse_object(line)
    text = _text(record)
    labels = _labels(record)
    if "\\u" in line:  # a decoded line can hold half a character or a NUL only as an escape
        check_encodable(text, *labels)
    if len(record) > len(KNOWN_KEYS):
        notices.unknown_keys(record.keys() - KNOWN_KEYS)
    return Row(text, labels)


def parse_query(line: str, notices: Notices) -> str:
    """Read the text of one line; its labels are ignored, and other keys are given to `notices`.

    Raises:
        BadLineError: the line is not a JSON object, or has no `text` that is a string.
    """
    record = parse_object(line)
    text = _text(record)
    if "\\u" in line:
        check_encodable(text)
    if len(record) > 1 + ("labels" in record):
        notices.unknown_keys(record.keys() - KNOWN_KEYS)
    return text


def parse_object(line: str, example: str = _EXAMPLE) -> dict[str, Any]:
    """Read the JSON object of one line.

    Raises:
        BadLineError: the line is not JSON, or not an object; the message shows `example`.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadLineError(f"malformed JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # an integer of over 4300 digits; brackets nested too deeply
        raise BadLineError(f"JSON that cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise BadLineError(f"the line is {type_name(record)}, not an object {example}")
    return record


def _text(record: dict[str, Any]) -> str:
    text = record.get("text")
    if isinstance(text, str):
        return text
    raise BadLineError(_mistyped("text", record, "a string"))


def _labels(record: dict[str, Any]) -> tuple[str, ...]:
    labels = record.get("labels")
    if not isinstance(labels, list):
        raise BadLineError(_mistyped("labels", record, "a list of strings"))
    try:
        return distinct_labels(labels)
    except TypeError:  # a label is not a string, which is rare: the labels are checked one by one only now
        return distinct_labels([_label_text(label) for label in labels])


def _label_text(label: object) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    raise BadLineError(f'"labels" holds {type_name(label)}, not only strings')


def _mistyped(key: str, record: dict[str, Any], expected: str) -> str:
    if key not in record:
        shown = ", ".join(f'"{name[:40]}"' for name in list(record)[:_MOST_SHOWN_KEYS])
        return f'"{key}" is missing{f" (the line has {shown})" if shown else ""}'
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
