"""The columns of a table that are read for training and evaluation, as named by the user or found by usual names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError
from astec.export.readers.read_options import ReadOptions

USUAL_TEXTS: Final = ("query", "text", "title")
USUAL_LABELS: Final = ("labels", "label")
USUAL_WEIGHTS: Final = ("weight", "weights", "clicks", "count", "counts")
_MAX_LISTED: Final = 20
_MAX_NAME_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The names of the columns that are read; `weight` is None where all weights are 1."""

    text: str
    labels: str
    weight: str | None

    @classmethod
    def choose(cls, path: Path, names: Sequence[str], options: ReadOptions) -> TableColumns:
        """Choose the columns that the options name, and of the others the first that has a usual name, in any case.

        Args:
            path: the table, for messages.
            names: of all columns.
            options: the user's.

        Raises:
            DataError: a column is missing, has its name twice, or is named for two purposes.
        """
        text = _choose(path, names, options.text_column, USUAL_TEXTS, "texts", "--text-column")
        labels = _choose(path, names, options.label_column, USUAL_LABELS, "labels", "--label-column")
        weight = options.weight_column
        if weight is not None:
            _require(path, names, weight, "--weight-column")
        else:
            weight = _usual(names, USUAL_WEIGHTS)
        for name, count in Counter(filter(None, (text, labels, options.weight_column))).items():
            if count > 1:
                problem = f"column {name!r} is taken for two of texts, labels and weights"
                raise DataError(path, None, problem, "Name another as --text-column, --label-column or --weight-column")
        columns = cls(text, labels, None if weight in (text, labels) else weight)
        for name in columns.names:
            if list(names).count(name) > 1:
                raise DataError(path, None, f"two columns have the name {name!r}", "Rename or remove one of them")
        return columns

    @property
    def names(self) -> list[str]:
        """The names of the columns, without that of the weights where there is none."""
        return [self.text, self.labels, *([] if self.weight is None else [self.weight])]

    def require(self, path: Path, names: Sequence[str]) -> None:
        """Check that another table, a further part of the data, has the columns too.

        Raises:
            DataError: it lacks one, or has it twice.
        """
        for name in self.names:
            if list(names).count(name) != 1:
                problem = f"column {name!r} of the other parts is missing here, or is there twice"
                raise DataError(path, None, f"{problem} (columns: {listed(names)})", "Write all parts with one schema")

    def note(self, names: Sequence[str]) -> str:
        """Say which columns are read, and which are not."""
        weights = "" if self.weight is None else f", weights from {self.weight!r}"
        others = [name for name in names if name not in self.names]
        unread = f"; not read: {listed(others)}" if others else ""
        return f"texts from column {self.text!r}, labels from {self.labels!r}{weights}{unread}"


def has_usual_columns(names: Sequence[str]) -> bool:
    """Return whether a column of texts and one of labels have usual names."""
    return _usual(names, USUAL_TEXTS) is not None and _usual(names, USUAL_LABELS) is not None


def listed(names: Sequence[str]) -> str:
    """Quote the names of columns for a message, with commas between; of very many only the first."""
    shown = [repr(name[:_MAX_NAME_CHARS]) for name in names[:_MAX_LISTED]]
    if len(names) > len(shown):
        shown.append(f"and {len(names) - len(shown)} more")
    return ", ".join(shown) or "none"


def _choose(
    path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str], purpose: str, option: str
) -> str:
    if wanted is not None:
        _require(path, names, wanted, option)
        return wanted
    found = _usual(names, usual)
    if found is None:
        problem = f"no column is called {' or '.join(usual)} (columns: {listed(names)})"
        remedy = f"Name the column of the {purpose} with {option}; the first row of CSV must hold the names of columns"
        if len(names) == 1:
            remedy += "; if it does, name what separates them with --delimiter"
        raise DataError(path, None, problem, remedy)
    return found


def _require(path: Path, names: Sequence[str], wanted: str, option: str) -> None:
    if wanted not in names:
        problem = f"no column {wanted!r} (columns: {listed(names)})"
        raise DataError(path, None, problem, f"Pass one of them as {option}")


def _usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """Return the name of the column that has the first of the usual names, exactly or in another case."""
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(name.strip().casefold(), name)
    return next((by_folded[name] for name in usual if name in by_folded), None)
