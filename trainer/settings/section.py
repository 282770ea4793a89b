"""The base classes of the settings' sections."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from astec.export.artifact.manifest import Reads


class Section(BaseModel):
    """A group of settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


KIND_MEANING = (
    "how a text becomes the vector v; boe, a bag of embeddings as in Astec, is by far the fastest; docs/family.md "
    "compares all kinds"
)


class EncoderSection(Section):
    """The settings that all kinds of encoder share; a kind with more settings subclasses this beside its code.

    Attributes:
        reads: the form in which the encoder is given a text.
        plain: whether the embeddings are the only parameters that learn.
    """

    reads: ClassVar[Reads] = "bag"
    plain: ClassVar[bool] = True

    kind: str = Field("boe", description=KIND_MEANING)

    @property
    def rate(self) -> float:
        """Factor on the learning rate for the encoder's parameters."""
        return 1.0

    @property
    def learns(self) -> bool:
        """True if the encoder has parameters that training changes."""
        return True

    @property
    def max_length(self) -> int | None:
        """Most words or pieces of a text that are read; None if the encoder reads neither."""
        return None

    def tokenizer(self) -> bytes | None:
        """Return the content of the `tokenizer.json` that cuts texts into pieces; None if the encoder reads no pieces.

        Raises:
            ValueError: the file cannot be read.
        """
        return None


class WordsSection(EncoderSection):
    """The settings of an encoder that reads the words of a text in their order."""

    reads: ClassVar[Reads] = "words"
    plain: ClassVar[bool] = False

    length: int = Field(32, ge=1, le=4096, description="read this many words of a text, from its first; more: slower")

    @property
    def max_length(self) -> int | None:
        """Most words of a text that are read."""
        return self.length
