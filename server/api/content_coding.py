"""Compressed request bodies: decoders for the codings of `Content-Encoding`, in pieces of limited size.

A few bytes may expand to gigabytes. A decoder never expands more at a time than a piece, so that its caller can count
the bytes, and stop at its limit.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from astec.server.errors import DamagedContentError, UnsupportedCodingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_PIECE_BYTES: Final = 1 << 16
"""The most bytes that a step expands to."""
# The largest window that a content coding may have, by RFC 9659; a decoder holds as many bytes.
_ZSTD_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS


class Decoder(Protocol):
    """Decodes one body."""

    def decode(self, content: bytes) -> Iterator[bytes]:
        """Yield what the next part of the body expands to, in pieces.

        Raises:
            DamagedContentError: It is not data of the coding.
        """

    def finish(self) -> None:
        """Check that the coded data came to their end with the body.

        Raises:
            DamagedContentError: They did not.
        """


class _ZlibDecoder:
    """Decodes gzip, which may have several members one after the other, or zlib's format (the coding "deflate")."""

    def __init__(self, coding: str, window_bits: int) -> None:
        self._coding = coding
        self._window_bits = window_bits
        self._member: Any = None  # zlib does not export the type

    def decode(self, content: bytes) -> Iterator[bytes]:
        piece = b""
        # zlib may have read all bytes, and still have some to give.
        while content or len(piece) == MAX_PIECE_BYTES:
            if self._member is None or self._member.eof:
                self._member = zlib.decompressobj(self._window_bits)
            try:
                piece = self._member.decompress(content, MAX_PIECE_BYTES)
            except zlib.error as error:
                raise _damaged(self._coding, error) from None
            content = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        _require_end(self._coding, self._member)


class _ZstdDecoder:
    """Decodes Zstandard, which may have several frames one after the other."""

    def __init__(self) -> None:
        self._frame: zstd.ZstdDecompressor | None = None

    def decode(self, content: bytes) -> Iterator[bytes]:
        while content:
            if self._frame is None or self._frame.eof:
                self._frame = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
            yield from self._expand(self._frame, content)
            content = self._frame.unused_data if self._frame.eof else b""

    def _expand(self, frame: zstd.ZstdDecompressor, content: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = frame.decompress(content, MAX_PIECE_BYTES)
            except zstd.ZstdError as error:
                raise _damaged("zstd", error) from None
            if piece:
                yield piece
            if frame.eof or frame.needs_input:
                return
            content = b""

    def finish(self) -> None:
        _require_end("zstd", self._frame)


def _damaged(coding: str, error: Exception) -> DamagedContentError:
    return DamagedContentError(f"The body is not {coding}, as its Content-Encoding says: {error}.")


def _require_end(coding: str, decompressor: Any) -> None:  # noqa: ANN401  (of any library)
    if decompressor is not None and not decompressor.eof:
        raise DamagedContentError(f"The body is cut off: it ends before its {coding} data do.")


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "gzip": lambda: _ZlibDecoder("gzip", _GZIP),
    "deflate": lambda: _ZlibDecoder("deflate", _ZLIB),
    "zstd": _ZstdDecoder,
}
_SAME: Final = {"x-gzip": "gzip"}
CODINGS: Final = tuple(_DECODERS)
"""The codings of bodies that this server decodes."""


def decoder_of(headers: Iterable[tuple[bytes, bytes]]) -> Decoder | None:
    """Return the decoder for the body of a request with these headers (names in lower case); None: it is plain.

    Raises:
        UnsupportedCodingError: The body has another coding, or several.
    """
    values = [value for name, value in headers if name == b"content-encoding"]
    if not values:
        return None
    named = [coding.strip().lower() for coding in b",".join(values).decode("latin-1").split(",")]
    codings = [_SAME.get(coding, coding) for coding in named if coding not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1:
        raise UnsupportedCodingError(f"The body has {len(codings)} content codings; the limit is one.", CODINGS)
    if codings[0] not in _DECODERS:
        raise UnsupportedCodingError(f"The content coding {codings[0][:50]!a} is not supported.", CODINGS)
    return _DECODERS[codings[0]]()
