"""The Markdown pages of the project, and the samples in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "docs/decisions", "loadtest/results")
PAGES = sorted({str(page.relative_to(ROOT)) for folder in FOLDERS for page in (ROOT / folder).glob("*.md")})

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>[^\s`]*)[^\n`]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)


class Sample(NamedTuple):
    """A fenced block."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def samples_of(page: str) -> list[Sample]:
    """The fenced blocks of a page, without the indentation of the list that they are in."""
    text = (ROOT / page).read_text()
    return [
        Sample(
            page,
            text.count("\n", 0, block.start()) + 1,
            block["language"],
            re.sub(f"^{block['indent']}", "", block["code"], flags=re.M),
        )
        for block in _FENCED.finditer(text)
    ]


def prose_of(page: str) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", _FENCED.sub("", (ROOT / page).read_text()))


def headings_of(page: str) -> list[str]:
    """The headings of a page, as they are written."""
    return re.findall(r"^#{1,6} +(.+?) *#*$", _FENCED.sub("", (ROOT / page).read_text()), re.M)
