"""JSON Lines: `{"text": "red shoes", "labels": ["shoes", "red shoes sale"]}`; other keys are ignored."""

from __future__ import annotations

import json
from typing import Any, Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.row import Row, distinct_labels

_JSON_TYPES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}
_EXAMPLE: Final = '{"text": ..., "labels": [...]}'


def parse_row(line: str) -> Row:
    """Read the text and labels of one line.

    Raises:
        BadLineError: no JSON object, or no `text` and `labels` of the right types.
    """
    record = parse_object(line)
    text = _text(record)
    labels = _labels(record)
    if "\\u" in line:  # only an escape can smuggle half a character into a decoded line
        check_encodable(text, *labels)
    return Row(text, labels)


def parse_query(line: str) -> str:
    """Read the text of one line, whatever its labels.

    Raises:
        BadLineError: no JSON object, or no `text` that is a string.
    """
    text = _text(parse_object(line))
    check_encodable(text)
    return text


def parse_object(line: str, example: str = _EXAMPLE) -> dict[str, Any]:
    """Read the object of one line.

    Raises:
        BadLineError: no JSON, or something else than an object such as the `example`.
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
    except TypeError:  # some label is no string, which is rare: look closer only now
        return distinct_labels([_label_text(label) for label in labels])


def _label_text(label: object) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    raise BadLineError(f'"labels" holds {type_name(label)}, not only strings')


def _mistyped(key: str, record: dict[str, Any], expected: str) -> str:
    if key not in record:
        return f'"{key}" is missing'
    return f'"{key}" is {type_name(record[key])}, not {expected}'


def type_name(value: object) -> str:
    """What a value of JSON is, in words."""
    return _JSON_TYPES.get(type(value), "a number")


def check_encodable(*texts: str) -> None:
    """Raise BadLineError where half a character is in a text, which UTF-8 cannot hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = ord(text[error.start])
            raise BadLineError(f"the escape \\u{half:04x} is half a character (a lone surrogate)") from None
