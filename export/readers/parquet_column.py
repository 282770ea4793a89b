"""The queries of a Parquet file: one column of it. Needs pyarrow, which is loaded only where there is such a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from astec.export.console import Advance
from astec.export.readers.column import choose_column
from astec.export.readers.errors import DataError

_MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 8192


def is_parquet(path: Path) -> bool:
    """Whether the file begins like Parquet; a file that cannot be read does not."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """One column of a file: the path and the name."""

    path: Path
    name: str

    @classmethod
    def open(cls, path: Path, column: str | None) -> ParquetColumn:
        """Read the schema and choose a column, see `choose_column`.

        Raises:
            DataError: no such column or none of strings, a damaged file, or pyarrow is not installed.
        """
        with readable_parquet(path):
            import pyarrow.parquet
            import pyarrow.types

            schema = pyarrow.parquet.read_schema(path)
            field = schema.field(choose_column(path, schema.names, column))
            if not (pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)):
                problem = f"column {field.name!r} holds {field.type}, not strings"
                raise DataError(path, None, problem, "Pass another as --column, or convert it")
        return cls(path, field.name)

    def queries(self, advance: Advance) -> Iterator[str]:
        """Stream the texts; one that is null is an empty query.

        Raises:
            DataError: the file is damaged.
        """
        with readable_parquet(self.path):
            import pyarrow.parquet

            size_bytes = self.path.stat().st_size
            with pyarrow.parquet.ParquetFile(self.path, pre_buffer=False) as file:
                num_rows = file.metadata.num_rows
                for batch in file.iter_batches(_BATCH_ROWS, columns=[self.name], use_threads=False):
                    for text in batch.column(0).to_pylist():
                        yield "" if text is None else text.strip()
                    advance(size_bytes * len(batch) // num_rows)


@contextmanager
def readable_parquet(path: Path) -> Iterator[None]:
    """Raise DataError where pyarrow is missing, or what is read in the block is damaged."""
    try:
        import pyarrow
    except ImportError:
        problem = "Parquet is read with pyarrow, which is not installed"
        raise DataError(path, None, problem, "Install it (pip install 'astec[bulk]'), or pass CSV or text") from None
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, None, f"the Parquet file is damaged ({error})", "Copy or download it again") from None
