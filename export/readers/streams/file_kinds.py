"""Kinds of files that hold no lines of text: each is named and refused, with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from astec.export.readers.errors import DataError
from astec.export.readers.streams.compression import is_compressed


class _Kind(NamedTuple):
    """A kind of file, and what to do instead of passing it."""

    name: str
    remedy: str


_AS_TEXT: Final = "Write its rows as JSON Lines, TSV or CSV, and pass that file"
_AS_TABLE: Final = "Write it as Parquet, or its rows as JSON Lines, TSV or CSV, and pass that file"
_SAVE_AS: Final = "Save the table as CSV (UTF-8) or as tab-separated text, and pass that file"
_PARQUET: Final = (
    "If it was compressed as a whole, decompress it, and pass the result: Parquet is compressed within. Where only "
    "lines are read, write its rows as JSON Lines, TSV or CSV"
)
_UNPACK: Final = "Unpack it, and pass the file that it holds"
_UNZIP: Final = "Unpack it (unzip -p FILE > NEW), and pass the file that it holds"
_KINDS: Final[tuple[tuple[bytes, _Kind], ...]] = (
    (b"PAR1", _Kind("a Parquet file", _PARQUET)),
    (b"\x93NUMPY", _Kind("an array of numpy", _AS_TEXT)),
    (b"\x04\x22\x4d\x18", _Kind("compressed by lz4", "Decompress it (lz4 -d FILE NEW), and pass the result")),
    (b"\xff\x06\0\0sNaPpY", _Kind("compressed by snappy", "Decompress it, and pass the result")),
    (b"\x1f\x9d", _Kind("compressed by compress (.Z)", "Decompress it (uncompress FILE), and pass the result")),
    (b"7z\xbc\xaf\x27\x1c", _Kind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", _Kind("a RAR archive", _UNPACK)),
    (b"ORC", _Kind("an ORC file", _AS_TABLE)),
    (b"Obj\x01", _Kind("an Avro file", _AS_TABLE)),
    (b"ARROW1", _Kind("an Arrow file (Feather)", _AS_TABLE)),
    (b"FEA1", _Kind("a Feather file", _AS_TABLE)),
    (b"\x89HDF\r\n\x1a\n", _Kind("an HDF5 file", _AS_TEXT)),
    (b"SQLite format 3\0", _Kind("an SQLite database", _AS_TEXT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _Kind("an old Excel or Word file", _SAVE_AS)),
    (b"%PDF-", _Kind("a PDF", _AS_TEXT)),
    (b"\x89PNG\r\n\x1a\n", _Kind("a PNG picture", _AS_TEXT)),
    (b"\xff\xd8\xff", _Kind("a JPEG picture", _AS_TEXT)),
    (b"\x7fELF", _Kind("a program", _AS_TEXT)),
    (
        b"version https://git-lfs.github.com/spec/",
        _Kind("a pointer of Git LFS, not the file itself", "Fetch it with git lfs pull"),
    ),
)
# The protocols 2 to 5 of pickle; texts of protocol 0 and 1 begin like any other text.
_is_pickle = re.compile(rb"\x80[\x02-\x05](?:[\x95\x8c}\](cKNXM)]|\x85)", re.DOTALL).match
_is_page = re.compile(rb"\s*<!doctype html[^>\t]*>|\s*<html[^>\t]*>\s*<head", re.IGNORECASE).match
_TAR_MAGIC: Final = slice(257, 262)


def refuse_other_kinds(path: Path, head: bytes) -> None:
    """Refuse a file whose first bytes, decompressed, show that it holds no lines of text.

    Raises:
        DataError: it is such a file; the message names its kind.
    """
    kind = _kind_of(head)
    if kind is not None:
        raise DataError(path, None, f"is {kind.name}", kind.remedy)


def _kind_of(head: bytes) -> _Kind | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(head)
    if is_compressed(head):
        return _Kind("compressed twice", "Decompress it once, and pass the result")
    if _is_pickle(head):
        remedy = "Reading one may run any code, so it is never done. Write the rows as JSON Lines, TSV or CSV"
        return _Kind("a pickle", remedy)
    if head[_TAR_MAGIC] == b"ustar":
        return _Kind("a tar archive", "Unpack it (tar -xf FILE), and pass the file that it holds")
    if _is_page(head):
        return _Kind("an HTML page, perhaps the answer of a failed download", "Download the file again, and look at it")
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), None)


def _kind_of_zip(head: bytes) -> _Kind:
    """Tell by the names of its first members what a zip archive is."""
    if b".npy" in head[:256]:
        return _Kind("an archive of numpy (.npz)", "Save one array of floats with numpy.save, as .npy")
    if b"[Content_Types].xml" in head or b"xl/" in head[:4096]:
        return _Kind("an Excel or Word file", _SAVE_AS)
    if b"opendocument" in head[:256]:
        return _Kind("an OpenDocument file", _SAVE_AS)
    if b"data.pkl" in head[:256]:
        return _Kind("a file of torch", _AS_TEXT)
    return _Kind("a zip archive", _UNZIP)
