"""The description of everything in an artifact: frozen, versioned, checksummed."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from astec.export.artifact.index.base import Backend, HnswParams

FORMAT_VERSION: Literal[2] = 2
MAX_IDENTITY_CHARS = 128
MAX_KNOTS = 64
MAX_LABEL_COLUMNS = 32
MAX_COLUMN_NAME_CHARS = 64
MANIFEST_FILE = "manifest.json"
MANIFEST_CHECKSUM_FILE = "manifest.sha256"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Count = Annotated[int, Field(ge=0, lt=2**40)]
Positive = Annotated[int, Field(ge=1, lt=2**40)]
Weights = Literal["float32", "int8"]
"""Type of embeddings, classifiers and label representatives; a re-ranker's are float32."""
Reads = Literal["bag", "words", "pieces", "vector"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""One that every reader of JSON can hold."""


class Frozen(BaseModel):
    """Immutable, and strict about what it is made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelIdentity(Frozen):
    """Which model answers; part of every response."""

    name: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)
    version: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)


class Dimensions(Frozen):
    """Sizes that the files must agree on, and the training texts that the label counts are over.

    `dim` is of all `learners` side by side, `shortlist_dim` of the space that the indices are searched in;
    `reranker_dim` is 0 without a re-ranker.
    """

    num_features: Positive
    dim: Positive
    shortlist_dim: Positive
    learners: Positive
    reranker_dim: Count
    num_labels: Positive
    num_representatives: Positive
    num_points: Count
    num_texts: Positive

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.dim % self.learners:
            raise ValueError(f"dim is {self.dim}, which {self.learners} learners of equal dimensions cannot have")
        if self.shortlist_dim > self.dim:
            raise ValueError(f"shortlist_dim is {self.shortlist_dim}, more than dim {self.dim}, which it projects")
        return self


class FeaturizerIdentity(Frozen):
    """What the model reads, and the identity of its vocabulary."""

    kind: Literal["text", "ids"]
    vocabulary_sha256: Sha256


class EncoderDescription(Frozen):
    """What makes v of a query.

    Attributes:
        kind: as the trainer's settings name it.
        reads: what it is given: the weighted sum of all tokens' embeddings; the embeddings of words, or of the pieces
            of a transformer's tokenizer, in their order; or the features themselves, as many as D.
        max_length: words or pieces of a query that are read at most; None where none are.
        embeddings: rows of the table; None: one for each token.
    """

    kind: str = Field("boe", min_length=1, max_length=MAX_IDENTITY_CHARS)
    reads: Reads = "bag"
    max_length: Positive | None = None
    embeddings: Annotated[int, Field(ge=0, lt=2**40)] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.reads in ("words", "pieces")) != (self.max_length is not None):
            raise ValueError(f"an encoder that reads {self.reads} has max_length {self.max_length}")
        return self


class GraphDescription(Frozen):
    """An HNSW graph, and how it is searched: out of `ef_search` candidates."""

    m: Positive
    ef_construction: Positive
    ef_search: Positive

    @classmethod
    def of(cls, params: HnswParams) -> GraphDescription:
        """The same in the manifest's form."""
        return cls(m=params.m, ef_construction=params.ef_construction, ef_search=params.ef_search)

    def params(self) -> HnswParams:
        """The same in the index's form."""
        return HnswParams(self.m, self.ef_construction, self.ef_search)


class IndexDescription(Frozen):
    """An index, and how many hits of a query count; a flat one ignores `graph`."""

    backend: Backend
    graph: GraphDescription
    neighbours: Positive


class PartShares(NamedTuple):
    """What each part has of a score; together 1."""

    classifier: float
    similarity: float
    sparse: float
    votes: float
    reranker: float

    @classmethod
    def of(cls, alpha: float, beta: float, gamma: float, delta: float) -> PartShares:
        """The shares that `Scoring` describes."""
        first = 1 - beta
        dense = first * (1 - gamma - delta)
        return cls(dense * alpha, dense * (1 - alpha), first * gamma, first * delta, beta)


class Scoring(Frozen):
    """How the parts of a score, each between 0 and 1, are mixed.

    y = (1 - gamma - delta) * (alpha * classifier + (1 - alpha) * similarity) + gamma * sparse + delta * votes, and then
    (1 - beta) * y + beta * reranker; the paper's formula (section 4) where gamma and delta are 0. `sparse_weights` of
    all labels together; 0: there is no sparse term.
    """

    alpha: Fraction
    beta: Fraction
    gamma: Fraction
    delta: Fraction
    sparse_weights: Count

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.gamma + self.delta > 1:
            raise ValueError(f"gamma {self.gamma} and delta {self.delta} are more than 1 together")
        if self.gamma > 0 and not self.sparse_weights:
            raise ValueError(f"gamma is {self.gamma}, but there is no sparse term to mix in")
        return self

    def shares(self) -> PartShares:
        """What each part has of a score."""
        return PartShares.of(self.alpha, self.beta, self.gamma, self.delta)


class Calibration(Frozen):
    """How likely a label with a score is right, by a map that is linear between its knots.

    `pairs` of a held-out text and a label were learnt from; `expected_error` is the expected calibration error on texts
    that a map was not fitted on.
    """

    scores: list[Fraction] = Field(min_length=1, max_length=MAX_KNOTS)
    probabilities: list[Fraction]
    pairs: Positive
    expected_error: Fraction

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.probabilities) != len(self.scores):
            raise ValueError(f"there are {len(self.scores)} scores but {len(self.probabilities)} probabilities")
        if any(after <= before for before, after in pairwise(self.scores)):
            raise ValueError("the scores do not ascend")
        if any(after < before for before, after in pairwise(self.probabilities)):
            raise ValueError("a probability falls where the score rises, which would change rankings")
        return self


ValueKind = Literal["string", "boolean", "integer"]


class LabelColumn(Frozen):
    """A column of label metadata: its name, what its values are, and how many distinct ones there are."""

    name: str = Field(min_length=1, max_length=MAX_COLUMN_NAME_CHARS)
    kind: ValueKind
    values: Count


class FileRecord(Frozen):
    """Size and hash of one file."""

    bytes: Count
    sha256: Sha256


class Manifest(Frozen):
    """`manifest.json`, format version 2. What changes answers is here, not in the server's settings.

    `max_candidates` labels of a query are scored at most; None: all that its hits bring. Without a `calibration` scores
    have no probabilities. `training_texts`: the texts of the training points are in the artifact, and explanations
    quote them. `label_metadata` is what requests may filter by. `head`: what follows v lies beside the ONNX graph, too.
    """

    format_version: Literal[2]
    model: ModelIdentity
    created: str
    dimensions: Dimensions
    featurizer: FeaturizerIdentity
    centroids: IndexDescription | None
    points: IndexDescription | None
    max_candidates: Positive | None
    weights: Weights
    scoring: Scoring
    metrics: dict[str, float]
    training: dict[str, str | Integer | float | bool | None]
    files: dict[FileName, FileRecord]
    calibration: Calibration | None = None
    encoder: EncoderDescription = EncoderDescription()
    training_texts: bool = False
    label_metadata: list[LabelColumn] = Field(default=[], max_length=MAX_LABEL_COLUMNS)
    head: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.scoring.beta > 0 and not self.dimensions.reranker_dim:
            raise ValueError(f"scoring.beta is {self.scoring.beta}, but there is no re-ranker to mix in")
        if self.centroids is None and self.points is None:
            raise ValueError("there is no index, neither centroids nor points")
        if self.scoring.delta > 0 and self.points is None:
            raise ValueError(f"scoring.delta is {self.scoring.delta}, but there are no points to vote")
        if self.training_texts and self.points is None:
            raise ValueError("training_texts is true, but there are no points that have texts")
        if self.head and self.encoder.reads != "bag":
            raise ValueError(f"head is true, but the encoder reads {self.encoder.reads}, no bag")
        names = [column.name for column in self.label_metadata]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"two columns of label_metadata have the same name: {name!r}")
        return self

    def public(self) -> dict[str, Any]:
        """What clients may know: everything but the files."""
        return self.model_dump(mode="json", exclude={"files"})
