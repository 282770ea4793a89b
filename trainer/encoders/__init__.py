"""Encoders by name: what makes v of a text. A new one is a file here and a line below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from astec.trainer.section import EncoderSection

if TYPE_CHECKING:  # torch takes seconds to load: not for --help
    from astec.trainer.encoders.trunk import Trunk

ENCODERS = {
    "boe": "astec.trainer.encoders.boe.BagOfEmbeddings",
    "mlp": "astec.trainer.encoders.mlp.Mlp",
    "rnn": "astec.trainer.encoders.recurrent.Rnn",
    "gru": "astec.trainer.encoders.recurrent.Gru",
    "lstm": "astec.trainer.encoders.recurrent.Lstm",
    "attention": "astec.trainer.encoders.attention.Attention",
    "xml-cnn": "astec.trainer.encoders.xml_cnn.XmlCnn",
    "transformer": "astec.trainer.encoders.transformer.Transformer",
    "dense": "astec.trainer.encoders.dense.Dense",
}
"""Where the trunk of each lies."""


def trunk_class(kind: str) -> type[Trunk]:
    """The trunk of a kind of encoder.

    Raises:
        ValueError: there is none of that name.
    """
    if kind not in ENCODERS:
        raise ValueError(f"there is no encoder {kind!r}; there are {', '.join(ENCODERS)}")
    module, _, name = ENCODERS[kind].rpartition(".")
    found: type[Trunk] = getattr(import_module(module), name)
    return found


def encoder_section(kind: str) -> type[EncoderSection]:
    """The settings of a kind of encoder.

    Raises:
        ValueError: there is none of that name.
    """
    return EncoderSection if kind == EncoderSection().kind else trunk_class(kind).section
