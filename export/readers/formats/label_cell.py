"""Several labels in one field: `shoes;red shoes sale`, `"Books; knives";boots`."""

from __future__ import annotations

import re
from html.entities import entitydefs
from typing import Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.notices import Notices
from astec.export.readers.row import distinct_labels

DEFAULT_SEPARATOR: Final = ";"
_quoted = re.compile(r'\s*+"((?:[^"]|"")*+)"\s*+').match
_ends_as_entity = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,7}))$").search
_LONGEST_ENTITY: Final = 10
_ENTITIES: Final = frozenset(entitydefs) | {"apos"}


class LabelSplitter:
    """Splits fields into labels.

    Args:
        separator: what is between two labels; empty: a field is one label; None: `;`, but not the one with which an
            HTML entity such as `&amp;` ends.
        notices: gets a notice where there are such entities.
    """

    def __init__(self, separator: str | None, notices: Notices) -> None:
        self._separator = DEFAULT_SEPARATOR if separator is None else separator
        self._knows_entities = separator is None
        self._notices = notices

    def split(self, field: str) -> tuple[str, ...]:
        """Return the labels of a field, each once.

        A label in quotes may hold the separator; quotes inside are doubled. Quotes that do not enclose a whole label
        belong to it.

        Raises:
            BadLineError: a quote at the start of a label is not closed.
        """
        return distinct_labels(self.parts(field))

    def parts(self, field: str) -> list[str]:
        """Return what stands between the separators of a field, as `split` does, with empty and repeated parts."""
        if not self._separator:
            return [field]
        if '"' not in field and ("&" not in field or not self._knows_entities):
            return field.split(self._separator)
        return self._scan(field)

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


def _is_entity(text: str) -> bool:
    """Return whether a text ends as an HTML entity does before its `;`."""
    match = _ends_as_entity(text)
    return match is not None and (match[1] is None or match[1] in _ENTITIES)
