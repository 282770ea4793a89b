"""The reader of words or word pieces in their order, for encoders that read more of a query than its bag."""

from __future__ import annotations

from pathlib import Path

from astec.export.artifact.manifest import EncoderDescription
from astec.export.artifact.storage.checked_arrays import require
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.pieces import TOKENIZER_FILE, PieceReader
from astec.export.artifact.text.words import WordReader

SequenceReader = WordReader | PieceReader


def open_reader(
    encoder: EncoderDescription, featurizer: Featurizer, tokenizer: bytes | None = None
) -> SequenceReader | None:
    """Make the reader of words or pieces; None where the encoder reads a bag or a vector.

    Args:
        encoder: describes what the encoder reads, and how much of it.
        featurizer: has the vocabulary of words.
        tokenizer: the content of `tokenizer.json`, for pieces.

    Raises:
        ValueError: the featurizer knows no texts, or the tokenizer is missing or cannot be used.
    """
    if encoder.max_length is None:
        return None
    if not isinstance(featurizer, TextFeaturizer):
        raise ValueError(f"the encoder reads {encoder.reads}, and the featurizer knows no texts")
    if encoder.reads == "words":
        return WordReader(featurizer, encoder.max_length)
    if tokenizer is None:
        raise ValueError("the encoder reads pieces, and there is no tokenizer")
    return PieceReader(tokenizer, encoder.max_length, featurizer.config.max_chars)


def open_stored_reader(folder: Path, encoder: EncoderDescription, featurizer: Featurizer) -> SequenceReader | None:
    """Make the reader of the artifact in `folder`, with its tokenizer if it has one.

    Raises:
        ValueError: as `open_reader`, or the encoder has too few or too many embeddings for what is read.
    """
    path = folder / TOKENIZER_FILE
    reader = open_reader(encoder, featurizer, path.read_bytes() if path.exists() else None)
    if reader is not None:
        rows, kind = encoder.embeddings, encoder.reads
        # A transformer may have spare rows, for pieces that its tokenizer does not have.
        fits = rows == reader.num_rows or (kind == "pieces" and rows is not None and rows > reader.num_rows)
        require(fits, f"the encoder has embeddings of {rows} {kind}, and {reader.num_rows} are read")
    return reader
