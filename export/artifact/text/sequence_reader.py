"""What an encoder reads of a query beside its bag."""

from __future__ import annotations

from astec.export.artifact.manifest import EncoderDescription
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.pieces import PieceReader
from astec.export.artifact.text.words import WordReader

SequenceReader = WordReader | PieceReader


def open_reader(
    encoder: EncoderDescription, featurizer: Featurizer, tokenizer: bytes | None = None
) -> SequenceReader | None:
    """The reader of words or pieces in their order; None where the encoder reads none.

    Args:
        encoder: says what it reads, and how much of it.
        featurizer: of the words.
        tokenizer: of the pieces.

    Raises:
        ValueError: there are no texts to read, or no tokenizer, or it cannot be used.
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
