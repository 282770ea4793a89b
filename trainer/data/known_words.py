"""The words that a model knows without having seen them in a text: those of `word_vectors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.readers import DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.trainer.settings.config import ENGLISH, WordVectorsSection
from astec.trainer.words.word_file import english_words

_BEGINS_WORD = ("\u0120", "\u2581")  # what byte-level BPE and SentencePiece write before the first piece of a word
_CONTINUES_WORD = "##"  # what WordPiece writes before any other piece


def known_words(settings: WordVectorsSection) -> Iterator[str]:
    """Yield the words that come with the package; or the encoder's own and those of the file of words.

    Raises:
        DataError: the folder has no tokenizer, or the file cannot be read.
    """
    if settings.encoder == ENGLISH:
        yield from english_words().words
    elif settings.encoder:
        yield from encoder_words(Path(settings.encoder))
        if settings.words:
            yield from map(decode_line, read_lines(Path(settings.words)))


def encoder_words(folder: Path) -> Iterator[str]:
    """Yield the words of an encoder's own vocabulary that are one piece each.

    Raises:
        DataError: the folder has no tokenizer.
    """
    from tokenizers import Tokenizer  # an extra, as the encoder's own library is

    tokenizer = folder / TOKENIZER_FILE
    if not tokenizer.is_file():
        problem = f"word_vectors.encoder is {str(folder)!r}, and must be a folder with a {TOKENIZER_FILE}"
        raise DataError(folder, None, problem, "Save model and tokenizer with save_pretrained(FOLDER)")
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    marked = any(piece.startswith(_BEGINS_WORD) for piece in vocabulary)
    for piece in sorted(vocabulary, key=vocabulary.__getitem__):
        if marked and piece.startswith(_BEGINS_WORD):
            yield piece[1:]
        elif not marked and not piece.startswith(_CONTINUES_WORD):
            yield piece
