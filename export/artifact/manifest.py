"""The description of everything in an artifact: frozen, versioned, checksummed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from export.artifact.index import HnswParams

FORMAT_VERSION: Literal[1] = 1
MAX_IDENTITY_CHARS = 128
MANIFEST_FILE = "manifest.json"
MANIFEST_CHECKSUM_FILE = "manifest.sha256"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Count = Annotated[int, Field(ge=0, lt=2**40)]
Positive = Annotated[int, Field(ge=1, lt=2**40)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """Immutable, and strict about what it is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelIdentity(Frozen):
    """Which model answers; part of every response."""

    name: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)
    version: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)


class Dimensions(Frozen):
    """Sizes that the files must agree on, and the training texts that the label counts are over."""

    num_features: Positive
    dim: Positive
    num_labels: Positive
    num_representatives: Positive
    num_points: Count
    num_texts: Positive


class FeaturizerIdentity(Frozen):
    """What the model reads, and the identity of its vocabulary."""

    kind: Literal["text", "ids"]
    vocabulary_sha256: Sha256


class IndexDescription(Frozen):
    """One ANN graph and how it is searched: `neighbours` hits out of `ef_search` candidates."""

    backend: Literal["hnswlib"]
    m: Positive
    ef_construction: Positive
    ef_search: Positive
    neighbours: Positive

    def hnsw(self) -> HnswParams:
        """The graph's own form of the parameters."""
        return HnswParams(self.m, self.ef_construction, self.ef_search)


class Scoring(Frozen):
    """How the parts of a score are mixed.

    y = (1 - gamma) * (alpha * classifier + (1 - alpha) * similarity) + gamma * sparse, each part a sigmoid; the paper's
    formula (section 4) where gamma is 0. `sparse_weights` of all labels together; 0: there is no sparse term.
    """

    alpha: Fraction
    gamma: Fraction
    sparse_weights: Count

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.gamma > 0 and not self.sparse_weights:
            raise ValueError(f"gamma is {self.gamma}, but there is no sparse term to mix in")
        return self


class FileRecord(Frozen):
    """Size and hash of one file."""

    bytes: Count
    sha256: Sha256


class Manifest(Frozen):
    """`manifest.json`, format version 1. What changes answers is here, not in the server's settings."""

    format_version: Literal[1]
    model: ModelIdentity
    created: str
    dimensions: Dimensions
    featurizer: FeaturizerIdentity
    centroids: IndexDescription
    points: IndexDescription | None
    scoring: Scoring
    metrics: dict[str, float]
    training: dict[str, str | int | float | bool | None]
    files: dict[FileName, FileRecord]

    def public(self) -> dict[str, Any]:
        """What clients may know: everything but the files."""
        return self.model_dump(mode="json", exclude={"files"})
