"""Folding: texts that differ only in case, in separators or in Unicode form become equal.

There are two sets of rules, of which a model keeps the one that it was trained with: an answer must not change because
the software did. Rules 1 keep letters, digits and marks, and nothing else. Rules 2 are described in docs/texts.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from astec.export.artifact.text.ascii_words import separate_ascii
from astec.export.artifact.text.characters import SYMBOLS, fold_characters
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.segmentation import separate
from astec.export.artifact.text.tokens import Codes, encode_texts

_ASCII_FOLD = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(128)) + bytes(128)
_ASCII_FOLD_LINES = _ASCII_FOLD[:10] + b"\n" + _ASCII_FOLD[11:]

_find_symbol = re.compile(f"[{re.escape(SYMBOLS)}$]").search
_FEW_CHARACTERS = 150


def fold(text: str, config: FeaturizerConfig) -> str:
    """Return the text as the model sees it: words with spaces between, at most `config.max_chars` characters."""
    text = text[: config.max_chars]
    if text.isascii():
        if config.rules == 1 or not _find_symbol(text):
            return text.encode().translate(_ASCII_FOLD).decode()
        line = text.replace("\n", " ") + "\n"
        words = " ".join(separate_ascii(np.frombuffer(line.encode(), np.uint8)).tobytes().decode().split())
        if len(words) <= config.max_chars:
            return words
    if config.rules == 1:
        return _fold_letters(text)[: config.max_chars]
    return separate(fold_characters(text), config.max_chars)


def fold_and_encode(texts: Sequence[str], config: FeaturizerConfig) -> Codes:
    """Fold texts and return their code points, as the kernels read them."""
    # Most texts are short and ASCII: these are folded together. Spaces between words make a text at most twice as long.
    lines = "\n".join(texts)
    longest = config.max_chars if config.rules == 1 else config.max_chars // 2
    if (
        not lines.isascii()
        or lines.count("\n") != len(texts) - 1
        or (len(lines) > longest and max(map(len, texts)) > longest)
    ):
        return encode_texts([fold(text, config) for text in texts])
    content = (lines + "\n").encode()
    # To look for symbols takes longer than the kernel if there is much text.
    if config.rules == 1 or (len(lines) < _FEW_CHARACTERS and not _find_symbol(lines)):
        return np.frombuffer(content.translate(_ASCII_FOLD_LINES), np.uint8)
    return separate_ascii(np.frombuffer(content, np.uint8))


def _fold_letters(text: str) -> str:
    # Normalise twice: NFKC can produce upper case and separators, and case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)
