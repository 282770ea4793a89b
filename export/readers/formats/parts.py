"""A data set in several files of one format, read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from astec.export.console import Advance
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import DataError
from astec.export.readers.row import Row


class PartsDataset(Dataset):
    """The rows of the parts of a data set.

    Args:
        paths: the parts, at least one.
        first: the first part, opened.
        open_part: opens another part.
    """

    def __init__(self, paths: Sequence[Path], first: Dataset, open_part: Callable[[Path], Dataset]) -> None:
        self.paths = tuple(paths)
        self._first, self._open_part = first, open_part
        self.format_name, self.query_kind, self.num_features = first.format_name, first.query_kind, first.num_features
        self.feature_names, self.label_names = first.feature_names, first.label_names

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        yield from self._first._entries(advance)
        for path in self.paths[1:]:
            part = self._open_part(path)
            if (part.format_name, part.num_features) != (self.format_name, self.num_features):
                problem = f"a part in the format {part.format_name}, where {self.paths[0].name} has {self.format_name}"
                raise DataError(path, None, problem, "Write all parts in one format")
            yield from part._entries(advance)
