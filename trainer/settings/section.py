"""What every section of the settings is."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from astec.export.artifact.manifest import Reads


class Section(BaseModel):
    """Frozen; a name that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


KIND_MEANING = (
    "what makes v of a text. boe: a bag of embeddings, Astec's, by far the fastest; for others see docs/family.md"
)


class EncoderSection(Section):
    """What makes v of a text; a kind with knobs of its own has a section of its own, beside its code.

    Attributes:
        reads: what it is given of a text.
        plain: whether nothing but embeddings learns.
    """

    reads: ClassVar[Reads] = "bag"
    plain: ClassVar[bool] = True

    kind: str = Field("boe", description=KIND_MEANING)

    @property
    def rate(self) -> float:
        """The share of the learning rate with which it learns."""
        return 1.0

    @property
    def learns(self) -> bool:
        """Whether anything in it does."""
        return True

    @property
    def max_length(self) -> int | None:
        """Words or pieces of a text that are read at most; None where none are."""
        return None

    def tokenizer(self) -> bytes | None:
        """What cuts a text to pieces, as `tokenizer.json`; None where it is not read in pieces.

        Raises:
            ValueError: it cannot be read.
        """
        return None


class WordsSection(EncoderSection):
    """Of an encoder that reads the words of a text in their order."""

    reads: ClassVar[Reads] = "words"
    plain: ClassVar[bool] = False

    length: int = Field(32, ge=1, le=4096, description="words of a text that are read, the first; more: slower")

    @property
    def max_length(self) -> int | None:
        """See `EncoderSection.max_length`."""
        return self.length
