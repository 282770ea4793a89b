"""What the user says about a data file, where its content does not show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of reading; None leaves the decision to the reader.

    Attributes:
        text_column: the column of a table that holds the texts.
        label_column: the column that holds the labels.
        weight_column: the column that holds how often the labels were chosen.
        label_separator: what separates the labels of a cell; empty: a cell is one label, whatever it holds.
        delimiter: what separates the columns of CSV, one character.
        encoding: the encoding of the characters, by a name that Python knows; of folders, of every file.
    """

    text_column: str | None = None
    label_column: str | None = None
    weight_column: str | None = None
    label_separator: str | None = None
    delimiter: str | None = None
    encoding: str | None = None

    @property
    def names_columns(self) -> bool:
        """Whether a column is named, so that the file must be a table."""
        return (self.text_column, self.label_column, self.weight_column) != (None, None, None)


AS_FOUND = ReadOptions()
"""Nothing is said: everything is found in the file."""
