"""Lines of a plain or gzipped file, streamed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Final

from astec.export.console import Advance
from astec.export.readers.errors import BadLineError, DataError

MAX_LINE_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_UTF8_BOM: Final = b"\xef\xbb\xbf"


def read_lines(path: Path, advance: Advance | None = None) -> Iterator[bytes]:
    r"""Yield the lines of `path` without their `\n` or `\r\n` and without a byte order mark.

    Args:
        path: a file, gzipped or not; its first bytes show which.
        advance: called with the number of bytes just read from the file on disk.

    Raises:
        DataError: the file cannot be opened, is a truncated or damaged gzip file, or has a line of over 16 MiB.
    """
    tail = b""
    num_lines = 0
    for block in _read_blocks(path, advance):
        lines = (tail + block).split(b"\n")
        tail = lines.pop()
        num_lines += len(lines)
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(tail) > MAX_LINE_BYTES:
            problem = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB"
            raise DataError(path, num_lines + 1, problem, "Pass a text file with one row per line")
    if tail:
        yield tail.removesuffix(b"\r")


def decode_line(line: bytes) -> str:
    """Return the text of a line.

    Raises:
        BadLineError: the line is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8 (iconv -t utf-8 converts)"
        raise BadLineError(problem) from None


def _read_blocks(path: Path, advance: Advance | None) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            stream = _decompressed(file)
            position = 0
            first = True
            while block := stream.read(_BLOCK_BYTES):
                if advance is not None:
                    advance(file.tell() - position)
                    position = file.tell()
                yield block.removeprefix(_UTF8_BOM) if first else block
                first = False
    except EOFError:
        raise DataError(path, None, "the gzip file is truncated", "Copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, None, f"the gzip file is damaged ({error})", "Copy or download it again") from None
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise DataError(path, None, problem, "Pass a file that exists and may be read") from None


def _decompressed(file: BufferedIOBase) -> BufferedIOBase:
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == _GZIP_MAGIC else file
