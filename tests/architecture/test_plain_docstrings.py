"""Docstrings say what to expect at the first reading: "Return the ...", "The endpoints of ..."."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("export", "loadtest", "server", "trainer")
MAX_RIDDLES = 15
RIDDLE = re.compile(r'^ +"""(?:What|Of|See) ', re.MULTILINE)


def test_few_docstrings_begin_like_a_riddle() -> None:
    riddles = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in [path.read_text()]
        for found in RIDDLE.finditer(text)
    ]
    assert len(riddles) < MAX_RIDDLES, f"begin with a verb or with the name of a thing: {riddles}"
