"""Folding: texts that differ only in case, in separators or in Unicode form become equal.

There are two sets of rules, of which a model keeps the one that it was trained with: an answer must not change because
the software did. Rules 1 keep letters, digits and marks, and nothing else. Rules 2 are described in docs/texts.md.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from astec.export.artifact.text.characters import SYMBOLS, fold_characters
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.segmentation import may_have_symbols, separate
from astec.export.artifact.text.tokens import Codes, encode_texts

_ASCII_FOLD = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(128)) + bytes(128)
# Above ASCII, the symbols that are a part of words, which would become spaces otherwise.
_HIDDEN = str.maketrans({symbol: chr(128 + i) for i, symbol in enumerate(SYMBOLS + "$")})
_ASCII_FOLD_LINES = _ASCII_FOLD[:10] + b"\n" + _ASCII_FOLD[11:128] + f"{SYMBOLS}$".encode().ljust(128)


def fold(text: str, config: FeaturizerConfig) -> str:
    """Return the text as the model sees it: words with spaces between, at most `config.max_chars` characters."""
    text = text[: config.max_chars]
    if text.isascii() and (config.rules == 1 or not may_have_symbols(text)):
        return text.encode().translate(_ASCII_FOLD).decode()
    if config.rules == 1:
        return _fold_letters(text)[: config.max_chars]
    return separate(text.lower() if text.isascii() else fold_characters(text), config.max_chars)


def fold_and_encode(texts: Sequence[str], config: FeaturizerConfig) -> Codes:
    """Fold texts and return their code points, as the kernels read them."""
    # Most texts are short and ASCII: these are folded together.
    lines = "\n".join(texts)
    if (
        not lines.isascii()
        or lines.count("\n") != len(texts) - 1
        or (len(lines) > config.max_chars and max(map(len, texts)) > config.max_chars)
    ):
        return encode_texts([fold(text, config) for text in texts])
    if config.rules > 1 and may_have_symbols(lines):
        lines = "\n".join([_hide_symbols(text, config) if may_have_symbols(text) else text for text in texts])
    return np.frombuffer((lines + "\n").encode("latin-1").translate(_ASCII_FOLD_LINES), np.uint8)


def _hide_symbols(text: str, config: FeaturizerConfig) -> str:
    return fold(text, config).translate(_HIDDEN)


def _fold_letters(text: str) -> str:
    # Normalise twice: NFKC can produce upper case and separators, and case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)
