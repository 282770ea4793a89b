"""The words that a model knows without having seen them in a text: those of `word_vectors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.readers import DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.trainer.settings.config import WordVectorsSection

_BEGINS_WORD = ("\u0120", "\u2581")  # what byte-level BPE and SentencePiece write before the first piece of a word
_CONTINUES_WORD = "##"  # what WordPiece writes before any other piece


def known_words(settings: WordVectorsSection) -> Iterator[str]:
    """Yield the words of the encoder's own vocabulary that are one piece each, and those of the file of words.

    Raises:
        DataError: the folder has no tokenizer, or the file cannot be read.
    """
    if not settings.encoder:
        return
    from tokenizers import Tokenizer  # an extra, as the encoder's own library is

    tokenizer = Path(settings.encoder) / TOKENIZER_FILE
    if not tokenizer.is_file():
        problem = f"word_vectors.encoder is {settings.encoder!r}, and must be a folder with a {TOKENIZER_FILE}"
        raise DataError(Path(settings.encoder), None, problem, "Save model and tokenizer with save_pretrained(FOLDER)")
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    marked = any(piece.startswith(_BEGINS_WORD) for piece in vocabulary)
    for piece in sorted(vocabulary, key=vocabulary.__getitem__):
        if marked and piece.startswith(_BEGINS_WORD):
            yield piece[1:]
        elif not marked and not piece.startswith(_CONTINUES_WORD):
            yield piece
    if settings.words:
        yield from map(decode_line, read_lines(Path(settings.words)))
