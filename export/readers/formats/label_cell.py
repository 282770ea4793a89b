"""Several labels in one field: `shoes;red shoes sale`, `"Books; knives";boots`, `['shoes', 'boots']`."""

from __future__ import annotations

import ast
import json
import re
import warnings
from html.entities import entitydefs
from typing import Any, Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.formats.jsonl import check_encodable
from astec.export.readers.notices import Notices
from astec.export.readers.row import distinct_labels

DEFAULT_SEPARATOR: Final = ";"
_quoted = re.compile(r'\s*+"((?:[^"]|"")*+)"\s*+').match
_ends_as_entity = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,7}))$").search
_LONGEST_ENTITY: Final = 10
_ENTITIES: Final = frozenset(entitydefs) | {"apos"}
# A list as JSON, Python and pandas write it, of strings in quotes and whole numbers.
_ITEM: Final = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\d{1,18}+)"""
_is_list = re.compile(rf"\[\s*+(?:{_ITEM}(?:\s*+,\s*+{_ITEM})*+)?+\s*+\]", re.DOTALL).fullmatch
_begins_as_list: Final = ("['", '["')
_OTHER_SEPARATORS: Final = (",", "|")


class LabelSplitter:
    """Splits fields into labels.

    Args:
        separator: what is between two labels; empty: a field is one label; None: `;`, but not the one with which an
            HTML entity such as `&amp;` ends.
        notices: gets a notice where there are such entities or lists, and where fields seem to need another separator.
    """

    def __init__(self, separator: str | None, notices: Notices) -> None:
        self._separator = DEFAULT_SEPARATOR if separator is None else separator
        self._knows_entities = separator is None
        self._notices = notices
        self._num_split, self._num_single, self._holding = 0, 0, dict.fromkeys(_OTHER_SEPARATORS, 0)
        if separator is None:
            notices.at_end(self._notice_unsplit)

    def split(self, field: str) -> tuple[str, ...]:
        """Return the labels of a field, each once.

        A label in quotes may hold the separator; quotes inside are doubled. Quotes that do not enclose a whole label
        belong to it. A field that is a list, such as `['shoes', 'boots']`, holds the labels of the list.

        Raises:
            BadLineError: a quote at the start of a label is not closed, or a field begins and ends as a list and is
                none.
        """
        return distinct_labels(self.parts(field))

    def parts(self, field: str) -> list[str]:
        """Return what stands between the separators of a field, as `split` does, with empty and repeated parts."""
        if not self._separator:
            return [field]
        if "[" in field[:2] and (listed := self._listed(field)) is not None:
            return listed
        if '"' not in field and ("&" not in field or not self._knows_entities):
            parts = field.split(self._separator)
        else:
            parts = self._scan(field)
        if len(parts) > 1:
            self._num_split += 1
        elif field:
            self._num_single += 1
            for separator in _OTHER_SEPARATORS:
                self._holding[separator] += separator in field
        return parts

    def _listed(self, field: str) -> list[str] | None:
        """Return the labels of a field that is a list, quoted as a whole or not; None if it is no list."""
        quoted = _quoted(field)
        inner = quoted[1].replace('""', '"') if quoted and quoted.end() == len(field) else field
        inner = inner.strip()
        if not _is_list(inner):
            if inner.startswith(_begins_as_list) and inner.endswith("]"):
                raise BadLineError(
                    f"{inner[:40]!r} begins and ends as a list of labels, and is none that can be read (write it as "
                    "JSON, or the labels with ; between; --label-separator '' if it is one label)"
                )
            return None
        labels = list(map(str, _evaluated(inner)))
        check_encodable(*labels)
        self._notices.add(
            "lists in one field, such as ['shoes', 'boots'], are read as lists; pass --label-separator '' if each is "
            "one label"
        )
        return labels

    def _notice_unsplit(self) -> None:
        """Notice that no field was split, where most hold what others separate labels by; then count anew."""
        for separator, count in self._holding.items():
            if not self._num_split and count and count * 2 >= self._num_single:
                self._notices.add(
                    f"{DEFAULT_SEPARATOR!r} separates no labels here, and {separator!r} is in most fields, each of "
                    f"which is taken for one label; pass --label-separator '{separator}' if it separates them, '' if "
                    "it does not",
                    count,
                )
        self._num_split, self._num_single, self._holding = 0, 0, dict.fromkeys(_OTHER_SEPARATORS, 0)

    def _scan(self, field: str) -> list[str]:
        labels, begin = [], 0
        while begin <= len(field):
            quoted = _quoted(field, begin)
            if quoted and (quoted.end() == len(field) or field.startswith(self._separator, quoted.end())):
                if self._separator not in quoted[1]:
                    self._notices.add(
                        "labels in double quotes are read without the quotes; pass --label-separator '' if each field "
                        "is one label with its quotes"
                    )
                labels.append(quoted[1].replace('""', '"'))
                begin = quoted.end() + len(self._separator)
                continue
            end = self._end(field, begin)
            label = field[begin:end]
            if label.lstrip().startswith('"') and label.count('"') % 2:
                raise BadLineError(f'the quote at the start of the label {label.strip()[:40]!r} is not closed by a "')
            labels.append(label)
            begin = end + len(self._separator)
        return labels

    def _end(self, field: str, begin: int) -> int:
        """Return where the label that begins at a position ends: at the next separator, or with the field."""
        position = begin
        while (end := field.find(self._separator, position)) >= 0:
            if not (self._knows_entities and _is_entity(field[max(begin, end - _LONGEST_ENTITY) : end])):
                return end
            self._notices.add(
                "labels hold HTML entities such as &amp;, whose ; is taken as part of the label; decode them, or pass "
                "--label-separator ';' to end a label at every ;"
            )
            position = end + len(self._separator)
        return len(field)


def _evaluated(text: str) -> list[Any]:
    """Return the strings and numbers of a list as JSON or Python writes it.

    Raises:
        BadLineError: a string has an escape that neither knows.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise BadLineError(f"the list {text[:40]!r} has an escape that cannot be read") from None
    return list(found)


def _is_entity(text: str) -> bool:
    """Return whether a text ends as an HTML entity does before its `;`."""
    match = _ends_as_entity(text)
    return match is not None and (match[1] is None or match[1] in _ENTITIES)
