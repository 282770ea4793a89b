"""What a reader notices in a file that it reads all the same: said once, with the number of lines that it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from astec.export.console import console

_MOST_KEYS: Final = 10


class Notices:
    """What was noticed in one file."""

    def __init__(self) -> None:
        self._unknown_keys: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._at_end: list[Callable[[], None]] = []

    def unknown_keys(self, keys: Iterable[str]) -> None:
        """Count keys of a line that are not understood; of very many different keys only the first are kept."""
        for key in keys:
            if key in self._unknown_keys or len(self._unknown_keys) <= _MOST_KEYS:
                self._unknown_keys[key] += 1

    def add(self, notice: str, lines: int = 1) -> None:
        """Count lines to which a sentence applies; it must be one of few."""
        self._others[notice] += lines

    def at_end(self, add: Callable[[], None]) -> None:
        """Call a function before notices are printed: it adds those that only the whole file shows."""
        self._at_end.append(add)

    def say(self, path: Path) -> None:
        """Print what was noticed, and forget it."""
        for add in self._at_end:
            add()
        if self._unknown_keys:
            keys = [f"{key!r} ({_lines(count)})" for key, count in self._unknown_keys.most_common(_MOST_KEYS)]
            more = " and others" if len(self._unknown_keys) > _MOST_KEYS else ""
            say(path, f"keys that are not understood are left out: {', '.join(keys)}{more}")
        for notice, count in self._others.items():
            say(path, f"{notice} ({_lines(count)})")
        self._unknown_keys.clear()
        self._others.clear()


def say(path: Path, sentence: str) -> None:
    """Print something to know about a file, on stderr."""
    console.print(f"{path}: {sentence}", markup=False, highlight=False, soft_wrap=True)


def say_repeated_header(path: Path, count: int) -> None:
    """Say that lines were left out that repeat the first one, which names the columns."""
    say(path, f"lines that repeat the names of the columns are left out, as where files were joined ({_lines(count)})")


def _lines(count: int) -> str:
    return f"{count:,} line{'s' * (count != 1)}"
