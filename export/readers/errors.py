"""What can be wrong with a data file, said with file, line and remedy."""

from __future__ import annotations

from pathlib import Path


class BadLineError(ValueError):
    """One line that cannot be read; the text says what is wrong with it."""


class DataError(ValueError):
    """A data file that cannot be used.

    Attributes:
        path: the file or folder.
        line: the line it is about, counted from 1; None where it is about the whole file.
        problem: what is wrong, without a full stop.
        remedy: what to do about it, a sentence without a full stop.
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
    """A file with bad lines; path, line and problem are those of the first.

    Attributes:
        bad: bad lines seen.
        read: lines read, good and bad.
    """

    def __init__(self, path: Path, line: int, problem: str, *, bad: int, read: int) -> None:
        self.bad = bad
        self.read = read
        super().__init__(path, line, problem, "Fix them or pass --skip-bad-lines")

    def _message(self) -> str:
        lines = "bad line" if self.bad == 1 else "bad lines"
        return f"{self.bad} {lines} of {self.read}; first: {super()._message()}"
