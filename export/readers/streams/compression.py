"""Decompression, chosen by the first bytes of a file, never by its name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final, Protocol

from astec.export.readers.errors import DataError

SUFFIXES: Final = (".gz", ".bz2", ".xz", ".zst")
"""The usual ends of the names of files that are decompressed."""
_BLOCK_BYTES: Final = 1 << 20
_MAGIC_BYTES: Final = 10
_COPY_AGAIN: Final = "Copy or download it again"
_GZIP: Final = b"\x1f\x8b"
_XZ: Final = b"\xfd7zXZ\0"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# "BZh", a digit, then the first six digits of pi, or of its square root in an empty file.
_is_bzip2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)").match


class _Decompressor(Protocol):
    """What the decompressors of bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _DamagedError(Exception):
    """Compressed data that cannot be read."""


def plain_name(name: str) -> str:
    """Return a file's name without the end that says how it is compressed."""
    return next((name[: -len(end)] for end in SUFFIXES if name.lower().endswith(end)), name)


def find_beside(path: Path, name: str) -> Path | None:
    """Return the file with a name, or with that name and the end of a compressed file, in the folder of `path`."""
    candidates = (path.with_name(name + end) for end in ("", *SUFFIXES))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins like this is decompressed by `decompressed_blocks`."""
    return head.startswith((_GZIP, _XZ, _ZSTD)) or _is_bzip2(head) is not None


def decompressed_blocks(path: Path, file: BufferedIOBase) -> Iterator[bytes]:
    """Yield the content of an open file in blocks of at most 1 MiB: decompressed if it is gzip, bzip2, xz or Zstandard.

    Args:
        path: names the file in errors.
        file: at its start; its position tells how much has been read.

    Raises:
        DataError: the file is truncated or damaged, something follows its compressed data, or it is Zstandard and
            pyarrow is not installed.
        OSError: the file cannot be read.
    """
    magic = file.read(_MAGIC_BYTES)
    file.seek(0)
    name, blocks = _reader(path, magic, file)
    try:
        yield from blocks
    except EOFError:
        raise DataError(path, None, f"the {name} file is truncated", _COPY_AGAIN) from None
    except (_DamagedError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        if "Not a gzipped file" in str(error):  # Python says this of what follows a whole gzip file.
            error = _trailing("gzip")
        raise DataError(path, None, f"the {name} file is damaged ({error})", _COPY_AGAIN) from None


def _reader(path: Path, magic: bytes, file: BufferedIOBase) -> tuple[str, Iterator[bytes]]:
    if magic.startswith(_GZIP):
        return "gzip", _blocks(gzip.GzipFile(fileobj=file).read)
    if _is_bzip2(magic):
        return "bzip2", _members(file, "bzip2", bz2.BZ2Decompressor, lambda data: _is_bzip2(data) is not None)
    if magic.startswith(_XZ):
        return "xz", _members(file, "xz", lzma.LZMADecompressor, lambda data: data.startswith(_XZ))
    if magic.startswith(_ZSTD):
        return "Zstandard", _zstd_blocks(path, file)
    return "plain", _blocks(file.read)


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK_BYTES):
        yield block


def _members(
    file: BufferedIOBase, name: str, new: Callable[[], _Decompressor], begins: Callable[[bytes], bool]
) -> Iterator[bytes]:
    """Yield the content of a file of one or more compressed members; the library's file classes ignore what follows."""
    data = file.read(_BLOCK_BYTES)
    while data:
        decompressor = new()
        while not decompressor.eof:
            if decompressor.needs_input and not data and not (data := file.read(_BLOCK_BYTES)):
                raise EOFError
            try:
                block = decompressor.decompress(data, _BLOCK_BYTES)
            except OSError as error:  # bz2 says so of damaged data
                raise _DamagedError(str(error)) from None
            data = b""
            if block:
                yield block
        data = decompressor.unused_data
        if len(data) < _MAGIC_BYTES:
            data += file.read(_BLOCK_BYTES)
        data = data.lstrip(b"\0")  # xz pads with zeros
        if data and not begins(data):
            raise _trailing(name)


def _trailing(name: str) -> _DamagedError:
    return _DamagedError(f"bytes that are no {name} follow its compressed data")


def _zstd_blocks(path: Path, file: BufferedIOBase) -> Iterator[bytes]:
    try:
        import pyarrow as pa
    except ImportError:
        problem = "Zstandard is read with pyarrow, which is not installed"
        remedy = "Install it (pip install 'astec[bulk]'), or decompress the file: zstd -d FILE"
        raise DataError(path, None, problem, remedy) from None
    stream: Any = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    while True:
        try:
            block = stream.read(_BLOCK_BYTES)
        except OSError as error:
            if "truncated" in str(error).lower():
                raise EOFError from None
            raise _DamagedError(str(error)) from None
        if not block:
            return
        yield block
