"""The encoding of a file: by its byte order mark, as the user names it, or UTF-8; and from any of them to UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError
from astec.export.readers.streams.encoding_guess import guess_encoding

UTF8_BOM: Final = codecs.BOM_UTF8
_UTF8: Final = "utf-8"
# UTF-32 first: its mark begins like that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, _UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: Final = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_HEAD_BYTES: Final = 1 << 16
_WITHOUT_ORDER: Final = ("utf-16", "utf-32")
_SHOWN_CHARS: Final = 40
_MARK: Final = "\ufeff"
_REVERSED_MARK: Final = "\ufffe"
_MOST_CONTROLS: Final = 0.02
"""Share of control characters from which bytes that are not UTF-8 are no text in another encoding either."""


def encoding_of(path: Path, head: bytes, named: str | None) -> str:
    """Return the encoding of a file, as Python names it.

    Args:
        path: names the file in errors.
        head: its first bytes, decompressed.
        named: the encoding that the user names; None for UTF-8, or what a byte order mark says.

    Raises:
        DataError: no encoding has the name; the file has another one; it is UTF-16 or UTF-32 without a mark and nothing
            is named; or it is no text.
    """
    wanted = None if named is None else _known(path, named)
    head = head[:_HEAD_BYTES]
    found = next((codec for mark, codec in _MARKS if head.startswith(mark)), None) or _without_mark(head)
    if found is None:
        if wanted is None:
            _refuse_binary(path, head)
        elif _is_plainly_utf8(head) and _reads_bytes_singly(wanted):
            raise DataError(path, None, f"is UTF-8, and --encoding is {named}", "Leave --encoding out")
        return wanted or _UTF8
    if wanted is None and not head.startswith(tuple(mark for mark, _ in _MARKS)):
        remedy = f"Pass --encoding {found}, or convert the file: iconv -f {iconv_name(found)} -t UTF-8 FILE > NEW"
        raise DataError(path, None, f"is {_title(found)} without a byte order mark, not UTF-8", remedy)
    if wanted not in (None, found) and not (wanted in _WITHOUT_ORDER and found.startswith(wanted)):
        raise DataError(path, None, f"is {_title(found)}, and --encoding is {named}", f"Pass --encoding {found}")
    return found


def to_utf8(path: Path, blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the blocks of a file in UTF-8.

    Raises:
        DataError: bytes that the encoding does not have; names the line.
    """
    if encoding == _UTF8:
        yield from blocks
        return
    decoder, num_lines = codecs.getincrementaldecoder(encoding)(), 0
    try:
        for block in blocks:
            text = decoder.decode(block)
            if _REVERSED_MARK in text:
                line = num_lines + text[: text.index(_REVERSED_MARK)].count("\n") + 1
                raise DataError(
                    path, line, "from here on the order of bytes is reversed", "Convert each part by itself"
                )
            num_lines += text.count("\n")
            yield text.encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise _undecodable(path, encoding, num_lines, error) from None


def iconv_name(encoding: str) -> str:
    """Return the name that iconv knows an encoding of this module by: UTF-16LE for utf-16-le."""
    return encoding.upper().replace("-LE", "LE").replace("-BE", "BE")


def describe_non_utf8(line: bytes, position: int) -> str:
    """Describe a byte that is not UTF-8 at a position of a line, and what the line seems to be instead."""
    problem = f"byte 0x{line[position]:02x} at column {position + 1} is not UTF-8"
    guess = guess_encoding(line)
    if guess is None:
        return f"{problem} (iconv -f ENCODING -t UTF-8 FILE > NEW converts it, if you know its encoding)"
    begin = max(0, len(line[:position].decode(guess.codec, errors="ignore")) - _SHOWN_CHARS // 2)
    shown = guess.text[begin : begin + _SHOWN_CHARS]
    return (
        f"{problem}, but perhaps {guess.name}: {shown!r} (--encoding {guess.codec} reads it, where there is that "
        f"option; iconv -f {guess.iconv} -t UTF-8 FILE > NEW converts it)"
    )


def _known(path: Path, named: str) -> str:
    """Return an encoding's name in its usual spelling."""
    try:
        codec = codecs.lookup(named)
        "".encode(named)  # LookupError for what is no encoding of text, such as base64
    except (LookupError, ValueError):
        remedy = "Pass such as cp1252, latin-1, utf-16-le or gb18030"
        raise DataError(path, None, f"--encoding {named} is no encoding that Python knows", remedy) from None
    return _UTF8 if codec.name == "utf-8-sig" else codec.name


def _without_mark(head: bytes) -> str | None:
    """Return which of UTF-16 and UTF-32 bytes are that have no mark; None for neither."""
    if b"\0" not in head or _is_text_with_nuls(head):
        return None
    encoding = max(_WIDE, key=lambda encoding: _structure(head, encoding))
    return None if _structure(head, encoding) == (0, 0) else encoding


def _is_text_with_nuls(head: bytes) -> bool:
    """Return whether bytes are UTF-8 with a NUL here and there, which no encoding explains."""
    characters = head.replace(b"\0", b"")
    is_sparse = len(head) - len(characters) < len(head) / 3
    return is_sparse and _is_utf8(head) and _share_of_controls(characters.decode("latin-1")) <= _MOST_CONTROLS


def _structure(head: bytes, encoding: str) -> tuple[int, int]:
    """Count the line ends and tabs, and the characters of ASCII, in bytes as some encoding reads them.

    Read in the wrong order of bytes, line ends are characters that do not exist. Other characters of ASCII are no such
    proof: in the wrong order, some that are frequent in Chinese are letters.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return 0, 0
    if any(sign in text for sign in ("\0", _MARK, _REVERSED_MARK)) or _share_of_controls(text) > _MOST_CONTROLS:
        return 0, 0  # A mark inside says that a part of another encoding comes before it.
    ends = sum(map(text.count, "\n\r\t"))
    return ends, sum(character.isascii() for character in text)


def _share_of_controls(text: str) -> float:
    controls = sum(character < " " and character not in "\t\n\r\v\f" for character in text)
    return controls / max(1, len(text))


def _refuse_binary(path: Path, head: bytes) -> None:
    """Refuse bytes that are text in no encoding; a NUL or a byte that is not UTF-8 here and there is for the lines."""
    if not _is_utf8(head) and _share_of_controls(head.decode("latin-1")) > _MOST_CONTROLS:
        raise DataError(path, None, "is a binary file, not text", "Write its rows as JSON Lines, TSV or CSV")


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder(_UTF8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_plainly_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8 and not ASCII alone: by chance no text of another encoding is."""
    return not head.isascii() and _is_utf8(head)


def _reads_bytes_singly(encoding: str) -> bool:
    return len("é".encode().decode(encoding, errors="replace")) == 2


def _undecodable(path: Path, encoding: str, num_lines: int, error: UnicodeError) -> DataError:
    """Build the error of bytes that an encoding does not have, after a number of whole lines."""
    problem = f"is not {_title(encoding)} here"
    if isinstance(error, UnicodeDecodeError):
        num_lines += error.object[: error.start].decode(encoding, errors="ignore").count("\n")
        problem = f"byte 0x{error.object[error.start]:02x} is not {_title(encoding)} ({error.reason})"
    return DataError(path, num_lines + 1, problem, "Pass another --encoding, or repair the line")


def _title(encoding: str) -> str:
    return iconv_name(encoding) if encoding in (*_WIDE, _UTF8) else encoding
