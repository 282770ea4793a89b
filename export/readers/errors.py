"""Errors of data files, with the file, the line and the remedy."""

from __future__ import annotations

from pathlib import Path


class BadLineError(ValueError):
    """A line that cannot be read; the message says what is wrong with it."""


class DataError(ValueError):
    """A data file that cannot be used.

    Attributes:
        path: the file or folder.
        line: the line with the problem, counted from 1; None where the problem concerns the whole file.
        problem: what is wrong, without a full stop.
        remedy: how to solve it, a sentence without a full stop.
    """

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        return f"{self._place()}: {self.problem}. {self.remedy}."

    def _place(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"


class BadLinesError(DataError):
    """A file with bad lines; `path`, `line` and `problem` describe the first of them.

    Attributes:
        bad: number of bad lines seen.
        read: number of lines read, good and bad.
    """

    def __init__(self, path: Path, line: int, problem: str, *, bad: int, read: int) -> None:
        self.bad = bad
        self.read = read
        super().__init__(path, line, problem, "Fix them or pass --skip-bad-lines")

    def _message(self) -> str:
        lines = "bad line" if self.bad == 1 else "bad lines"
        return f"{self.bad} {lines} of {self.read}; first: {super()._message()}"
