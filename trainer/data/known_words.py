"""The words that a model knows without having seen them in a text: those of `word_vectors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from astec.export.readers import DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.trainer.encoders.pretrained import read_tokenizer
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
    folder = Path(settings.encoder)
    try:
        vocabulary = Tokenizer.from_buffer(read_tokenizer(settings.encoder, "word_vectors.encoder")).get_vocab()
    except ValueError as error:
        raise DataError(folder, None, f"has no encoder that can be read: {error}", "Pass another folder") from error
    marked = any(piece.startswith(_BEGINS_WORD) for piece in vocabulary)
    for piece in sorted(vocabulary, key=vocabulary.__getitem__):
        if marked and piece.startswith(_BEGINS_WORD):
            yield piece[1:]
        elif not marked and not piece.startswith(_CONTINUES_WORD):
            yield piece
    if settings.words:
        yield from map(decode_line, read_lines(Path(settings.words)))
