"""Kinds of encoder by name, and the settings of each. A new one is a file in `trainer/encoders/` and a line below."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from astec.trainer.settings.section import EncoderSection


class EncoderClass(Protocol):
    """The class of an encoder's trunk, reduced to what the settings need of it."""

    section: type[EncoderSection]


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
"""Import path of each kind's trunk."""


def encoder_class(kind: str) -> EncoderClass:
    """Return the class of a kind of encoder; it is imported on demand, since torch takes seconds to load.

    Raises:
        ValueError: there is no kind of that name.
    """
    if kind not in ENCODERS:
        raise ValueError(f"there is no encoder {kind!r}; there are {', '.join(ENCODERS)}")
    module, _, name = ENCODERS[kind].rpartition(".")
    found: EncoderClass = getattr(import_module(module), name)
    return found


def encoder_section(kind: str) -> type[EncoderSection]:
    """Return the class of the settings of a kind of encoder.

    Raises:
        ValueError: there is no kind of that name.
    """
    return EncoderSection if kind == EncoderSection().kind else encoder_class(kind).section
