"""Header lines: a first line that names the columns of texts and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

TEXT_NAMES: Final = frozenset(
    {
        *("text", "texts", "query", "queries", "query text", "search", "search query", "search term", "searchterm"),
        *("term", "question", "title", "titles", "sentence", "utterance", "document", "content", "input", "q"),
        *("keyword", "keywords"),
    }
)
LABEL_NAMES: Final = frozenset(
    {
        *("label", "labels", "tag", "tags", "category", "categories", "class", "classes", "target", "targets", "topic"),
        *("topics", "phrase", "phrases", "intent", "intents", "product", "products", "output", "keyword", "keywords"),
        *("item", "items", "clicked", "y"),
    }
)
_is_identifier = re.compile(r'\s*"?[a-z]+(?:_[a-z]+)+"?\s*', re.ASCII | re.IGNORECASE).fullmatch


class Header(NamedTuple):
    """The positions, from 0, of the columns of texts and labels."""

    text: int
    labels: int


def find_header(fields: Sequence[str]) -> Header | None:
    """Return the positions that a line names, if it is a header of two columns; None for a row."""
    if len(fields) != 2:
        return None
    for header in (Header(0, 1), Header(1, 0)):
        if _is_named(fields[header.text], TEXT_NAMES) and _is_named(fields[header.labels], LABEL_NAMES):
            return header
    return None


def _is_named(field: str, names: frozenset[str]) -> bool:
    """Return whether a field is one of the names, or a name such as `clicked_phrase`, one of whose words is."""
    name = column_name(field)
    return name in names or (_is_identifier(field) is not None and not names.isdisjoint(name.split()))


def column_name(field: str) -> str:
    """Return the name of a column in the spelling of `TEXT_NAMES`."""
    return " ".join(field.strip().strip('"').replace("_", " ").replace("-", " ").lower().split())
