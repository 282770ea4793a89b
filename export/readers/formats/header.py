"""Header lines: a first line that names the columns of texts and labels."""

from __future__ import annotations

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


class Header(NamedTuple):
    """The positions, from 0, of the columns of texts and labels."""

    text: int
    labels: int


def find_header(fields: Sequence[str]) -> Header | None:
    """Return the positions that a line names, if it is a header of two columns; None for a row."""
    names = list(map(column_name, fields))
    if len(names) != 2:
        return None
    for header in (Header(0, 1), Header(1, 0)):
        if names[header.text] in TEXT_NAMES and names[header.labels] in LABEL_NAMES:
            return header
    return None


def column_name(field: str) -> str:
    """Return the name of a column in the spelling of `TEXT_NAMES`."""
    return " ".join(field.strip().strip('"').replace("_", " ").replace("-", " ").lower().split())
