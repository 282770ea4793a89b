"""Lines of a file or pipe, streamed in UTF-8, whatever it is compressed by and encoded in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from astec.export.console import Advance
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.streams.compression import decompressed_blocks
from astec.export.readers.streams.encodings import UTF8_BOM, describe_non_utf8, encoding_of, to_utf8
from astec.export.readers.streams.file_kinds import refuse_other_kinds
from astec.export.readers.streams.stored_file import stored

MAX_LINE_BYTES: Final = 16 << 20
_without_marks: Final = re.compile(rb"^(?:%b)+" % UTF8_BOM, re.MULTILINE).sub
_NUL: Final = b"\0"
_REFUSED_NUL: Final = b"\xff\0"
"""A NUL behind a byte that is never UTF-8: decoding refuses the line, and no line needs to be searched for a NUL."""


def read_lines(path: Path, advance: Advance | None = None, encoding: str | None = None) -> Iterator[bytes]:
    r"""Yield the lines of `path` in UTF-8, without their `\n` or `\r\n` and without byte order marks at their start.

    Where the file has no `\n` near its start, `\r` ends the lines, as it did on old Macs.

    Args:
        path: a file or pipe; its first bytes show whether and how it is compressed.
        advance: called with the number of bytes just read from the file on disk.
        encoding: the name of its encoding; None for UTF-8, or what a byte order mark says.

    Raises:
        DataError: the file cannot be opened, is truncated or damaged, is no text or has another encoding, or has a line
            of over 16 MiB.
    """
    for lines in read_line_blocks(path, advance, encoding):
        yield from lines


def read_line_blocks(path: Path, advance: Advance | None = None, encoding: str | None = None) -> Iterator[list[bytes]]:
    """Yield the lines that `read_lines` yields, those of one block of the file at a time."""
    tail = b""
    num_lines = 0
    for block in _read_blocks(path, advance, encoding):
        joined = tail + (block.replace(_NUL, _REFUSED_NUL) if _NUL in block else block)
        if UTF8_BOM in joined:  # Files that were joined have one in the middle.
            joined = _without_marks(b"", joined)
        lines = joined.split(b"\n")
        tail = lines.pop()
        num_lines += len(lines)
        yield [line.removesuffix(b"\r") for line in lines] if b"\r" in joined else lines
        if len(tail) > MAX_LINE_BYTES:
            problem = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB"
            raise DataError(path, num_lines + 1, problem, "Pass a text file with one row per line")
    if tail:
        yield [tail.removesuffix(b"\r")]


def decode_line(line: bytes) -> str:
    """Return the text of a line.

    Raises:
        BadLineError: the line is not UTF-8, or holds a NUL.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        if line.startswith(_REFUSED_NUL, error.start):
            raise BadLineError(f"a NUL character at column {error.start + 1}") from None
        raise BadLineError(describe_non_utf8(line, error.start)) from None


def check_no_nul(text: str) -> None:
    """Check that a text holds no NUL: one is what is left of another encoding, or of damage, and is no part of a word.

    Raises:
        BadLineError: it does.
    """
    if "\0" in text:
        raise BadLineError(f"a NUL character at column {text.index(chr(0)) + 1}")


def check_one_line(line: str) -> None:
    r"""Check that a line of text holds no `\r`: files with other line ends may have been joined.

    Raises:
        BadLineError: it does.
    """
    if "\r" in line:
        raise BadLineError(f"a carriage return at column {line.index(chr(13)) + 1}, inside the line")


def _read_blocks(path: Path, advance: Advance | None, encoding: str | None) -> Iterator[bytes]:
    r"""Yield the content in UTF-8; where the first block has `\r` and no `\n`, every `\r` is made a `\n`."""
    try:
        blocks = _decompressed(path, advance)
        first = next(blocks, b"")
        refuse_other_kinds(path, first)
        blocks = to_utf8(path, chain([first], blocks), encoding_of(path, first, encoding))
        first = next(blocks, b"")
        blocks = chain([first], blocks)
        if b"\r" in first and b"\n" not in first:
            blocks = (block.replace(b"\r", b"\n") for block in blocks)
        yield from blocks
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise DataError(path, None, problem, "Pass a file that exists and may be read") from None


def _decompressed(path: Path, advance: Advance | None) -> Iterator[bytes]:
    """Yield the decompressed content, and tell `advance` how much of the file on disk was read for it."""
    with stored(path).open("rb") as file:
        position = 0
        for block in decompressed_blocks(path, file):
            if advance is not None:
                advance(file.tell() - position)
                position = file.tell()
            yield block
