"""Folding: texts that differ only in case, in separators or in Unicode form become equal.

There are two sets of rules, of which a model keeps the one that it was trained with: an answer must not change because
the software did. Rules 1 keep letters, digits and marks, and nothing else. Rules 2 are described in docs/texts.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate, compress, pairwise

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.characters import SYMBOLS, fold_characters
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.scripts import FLAG_TAGS, JOINER, character_class
from astec.export.artifact.text.segmentation import Span, separate, separate_ascii, word_spans
from astec.export.artifact.text.tokens import Codes, encode_texts

# Characters that are folded together with the one before them: marks, vowels and final consonants of Hangul, the marks
# of voiced kana, and what joins the parts of an emoji or is a tag of a flag.
_IS_ATTACHED = re.compile(f"[\u1160-\u11ff\uff9e\uff9f{chr(JOINER)}{character_class(FLAG_TAGS)}]").match
_ASCII_FOLD = bytes(ord(chr(c).lower() if chr(c).isalnum() else " ") for c in range(128)) + bytes(128)
_ASCII_FOLD_LINES = _ASCII_FOLD[:10] + b"\n" + _ASCII_FOLD[11:]
_ASCII_SYMBOLS_STAY = bytes(c if chr(c) in SYMBOLS + "$" else _ASCII_FOLD_LINES[c] for c in range(256))


def fold(text: str, config: FeaturizerConfig) -> str:
    """Return the text as the model sees it: words with spaces between, at most `config.max_chars` characters."""
    text = text[: config.max_chars]
    if text.isascii():
        line = (text.replace("\n", " ") + "\n").encode()
        folded = line.translate(_ASCII_FOLD_LINES)
        if config.rules == 1 or folded == line.translate(_ASCII_SYMBOLS_STAY):
            return folded[:-1].decode()
        words = " ".join(separate_ascii(np.frombuffer(line, np.uint8)).tobytes().decode().split())
        if len(words) <= config.max_chars:
            return words
    if config.rules == 1:
        return _fold_letters(text)[: config.max_chars]
    return separate(fold_characters(text), config.max_chars)


def seen_words(text: str, config: FeaturizerConfig) -> str:
    """Return the words of a text, with a space between each two: all that a model sees of it."""
    return " ".join(fold(text, config).split())


def seen_word_spans(text: str, config: FeaturizerConfig) -> list[Span]:
    """Return where each word of `seen_words` is in the text as it is written: begin and end, in characters.

    Characters may fold together in a way that does not tell which of them a word is made of. Then the spans of words
    are those of what stands between white space, or that of the whole text, and several words have the same.
    """
    fold_piece = _fold_letters if config.rules == 1 else fold_characters
    folded, origins = _fold_with_origins(text[: config.max_chars], fold_piece)
    if config.rules == 1:
        spans = [match.span() for match in re.finditer("[^ ]+", folded[: config.max_chars])]
    else:
        spans = word_spans(folded, config.max_chars)
    return [(origins[begin][0], origins[end - 1][1]) for begin, end in spans]


def _fold_with_origins(text: str, fold_piece: Callable[[str], str]) -> tuple[str, list[Span]]:
    """Return the folded text, and for each of its characters the smallest piece of the text that it comes from."""
    folded = fold_piece(text)
    if text.isascii():
        return folded, [(place, place + 1) for place in range(len(text))]
    for pieces in (_clusters(text), re.findall(r"\S+|\s+", text)):
        parts = list(map(fold_piece, pieces))
        if "".join(parts) == folded:  # else characters of several pieces are folded together
            spans = pairwise(accumulate(map(len, pieces), initial=0))
            return folded, [span for span, part in zip(spans, parts, strict=True) for _ in part]
    return folded, [(0, len(text))] * len(folded)


def _clusters(text: str) -> list[str]:
    """Return the characters of a text, each with those after it that may be folded together with it."""
    clusters: list[str] = []
    for character in text:
        is_joined = bool(clusters) and clusters[-1][-1] == chr(JOINER)
        if clusters and (is_joined or unicodedata.category(character)[0] == "M" or _IS_ATTACHED(character)):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def fold_and_encode(texts: Sequence[str], config: FeaturizerConfig) -> Codes:
    """Fold texts and return their code points, as the kernels read them."""
    # Most texts are short and ASCII: these are folded together. Spaces between words make a text at most twice as long.
    lines = "\n".join(texts)
    longest = config.max_chars if config.rules == 1 else config.max_chars // 2
    is_long = len(lines) > longest and max(map(len, texts)) > longest
    if lines.isascii() and not is_long and lines.count("\n") == len(texts) - 1:
        return _fold_lines(lines, config)
    if len(texts) < 2:
        return encode_texts([fold(text, config) for text in texts])
    is_plain = [text.isascii() and len(text) <= longest and "\n" not in text for text in texts]
    folded = iter(_fold_lines("\n".join(compress(texts, is_plain)), config).tobytes().decode().split("\n"))
    return encode_texts(
        [next(folded) if plain else fold(text, config) for text, plain in zip(texts, is_plain, strict=True)]
    )


def _fold_lines(lines: str, config: FeaturizerConfig) -> NDArray[np.uint8]:
    """Fold short ASCII texts, with a newline between each two, and return their code points."""
    content = (lines + "\n").encode()
    folded = content.translate(_ASCII_FOLD_LINES)
    # The fastest way to find that there is no symbol which may be a part of a word.
    if config.rules == 1 or folded == content.translate(_ASCII_SYMBOLS_STAY):
        return np.frombuffer(folded, np.uint8)
    codes = separate_ascii(np.frombuffer(content, np.uint8))
    codes.flags.writeable = False  # As above: numba would compile the kernels once more for an array that can change.
    return codes


def _fold_letters(text: str) -> str:
    # Normalise twice: NFKC can produce upper case and separators, and case folding can undo NFKC.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded)
