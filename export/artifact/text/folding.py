"""Folding: texts that differ only in case, in separators or in Unicode form become equal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from astec.export.artifact.text.tokens import Codes, encode_texts

_ASCII_FOLD = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(128)) + bytes(128)


def fold(text: str, max_chars: int) -> str:
    """Return the text in lower case, with a space for every separator, at most `max_chars` long."""
    if text.isascii():
        return text[:max_chars].encode().translate(_ASCII_FOLD).decode()
    # Normalise twice: NFKC can produce upper case and separators, and case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[:max_chars]).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)[:max_chars]


def fold_and_encode(texts: Iterable[str], max_chars: int) -> Codes:
    """Fold texts and return their code points, as the kernels read them."""
    return encode_texts([fold(text, max_chars) for text in texts])
