"""The queries of a Parquet file: one of its columns. Needs pyarrow, which is loaded only for Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from astec.export.console import Advance
from astec.export.readers.columns.arrow_texts import to_texts
from astec.export.readers.columns.column_choice import choose_column
from astec.export.readers.columns.parquet_types import holds_text
from astec.export.readers.errors import DataError
from astec.export.readers.magic_bytes import begins_with
from astec.export.readers.places.remote_path import RemotePath
from astec.export.readers.streams.stored_file import stored, stored_bytes

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

_MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 8192


def is_parquet(path: Path) -> bool:
    """Return whether the file begins like Parquet; False for a file that cannot be opened."""
    return begins_with(path, _MAGIC)


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """One column of a Parquet file: the file's path and the column's name."""

    path: Path
    name: str

    @classmethod
    def open(cls, path: Path, column: str | None) -> ParquetColumn:
        """Read the schema and choose a column with `choose_column`.

        Raises:
            DataError: there is no such column, it does not hold strings, the file is damaged, or pyarrow is not
                installed.
        """
        schema = parquet_schema(path)
        field = schema.field(choose_column(path, schema.names, column))
        if not holds_text(field.type):
            problem = f"column {field.name!r} holds {field.type}, not strings"
            raise DataError(path, None, problem, "Pass another as --column, or convert it")
        return cls(path, field.name)

    def queries(self, advance: Advance) -> Iterator[str]:
        """Stream the texts of the column; a null is an empty query.

        Raises:
            DataError: the file is damaged.
        """
        for batch in parquet_batches(self.path, advance, [self.name]):
            yield from to_texts(batch.column(0))


def parquet_schema(path: Path) -> Schema:
    """Return the names and types of the columns of a Parquet file.

    Raises:
        DataError: the file is damaged, or pyarrow is not installed.
    """
    with readable_parquet(path):
        import pyarrow.parquet

        return pyarrow.parquet.read_schema(_source(path))


def parquet_batches(path: Path, advance: Advance, columns: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """Yield the rows of a Parquet file in batches.

    Args:
        path: the file.
        advance: called after each batch with its share of the file's bytes.
        columns: the columns to read; None reads all.

    Raises:
        DataError: the file is damaged, or pyarrow is not installed.
    """
    with readable_parquet(path):
        import pyarrow.parquet

        size_bytes = stored_bytes(path)
        with pyarrow.parquet.ParquetFile(_source(path), pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                yield batch
                advance(size_bytes * len(batch) // file.metadata.num_rows)


def _source(path: Path) -> Path | BinaryIO:
    """Return what pyarrow opens: a local path by itself or its copy, a remote one as a stream."""
    return path.open("rb") if isinstance(path, RemotePath) else stored(path)


@contextmanager
def readable_parquet(path: Path) -> Iterator[None]:
    """Raise DataError where pyarrow is not installed, or the file that the block reads is damaged."""
    try:
        import pyarrow
    except ImportError:
        problem = "Parquet is read with pyarrow, which is not installed"
        raise DataError(path, None, problem, "Install it (pip install 'astec[bulk]'), or pass CSV or text") from None
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, None, f"the Parquet file is damaged ({error})", "Copy or download it again") from None
