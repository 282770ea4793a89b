"""The manifest, which describes everything in an artifact: immutable, versioned and checksummed."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

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
WeightType = Literal["float32", "int8"]
"""The type of embeddings, classifiers and label representatives; the weights of a re-ranker are always float32."""
DEFAULT_WEIGHTS: WeightType = "int8"
"""The type that artifacts are exported with unless another is asked for."""
Reads = Literal["bag", "words", "pieces", "vector"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer of 64 bits, which every JSON reader can hold."""


class Frozen(BaseModel):
    """Base of all parts of the manifest: immutable, and without conversion of types or unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelIdentity(Frozen):
    """Name and version of the model, which every response has."""

    name: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)
    version: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)


class Dimensions(Frozen):
    """The sizes that the files must have, and the number of training texts that the label counts are over.

    `dim` is the dimension of all `learners` side by side, `shortlist_dim` the dimension of the space that the indices
    are searched in; `reranker_dim` is 0 without a re-ranker.
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
    """The kind of queries that the model reads, and the hash of its vocabulary."""

    kind: Literal["text", "ids"]
    vocabulary_sha256: Sha256


class EncoderDescription(Frozen):
    """The encoder, which computes v from a query.

    Attributes:
        kind: as the trainer's settings name it.
        reads: the input. "bag": the weighted sum of all tokens' embeddings; "words" or "pieces": the embeddings of
            words, or of the pieces of a transformer's tokenizer, in their order; "vector": the D features themselves.
        max_length: the most words or pieces of a query that are read; None where the encoder reads none.
        embeddings: the rows of the table of embeddings; None: one for each token.
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
    """The parameters of an HNSW graph; a search examines `ef_search` candidates."""

    m: Positive
    ef_construction: Positive
    ef_search: Positive

    @classmethod
    def of(cls, params: HnswParams) -> GraphDescription:
        """Make the manifest's form of the parameters."""
        return cls(m=params.m, ef_construction=params.ef_construction, ef_search=params.ef_search)

    def params(self) -> HnswParams:
        """Return the index's form of the parameters."""
        return HnswParams(self.m, self.ef_construction, self.ef_search)


class IndexDescription(Frozen):
    """An index, and the number of hits of a query that count; a flat index ignores `graph`."""

    backend: Backend
    graph: GraphDescription
    neighbours: Positive


class Logistic(Frozen):
    """A logistic regression over the logits of a score's parts: the sum of their weights, and the bias."""

    slope: float = Field(gt=0)
    bias: float


class Scoring(Frozen):
    """The shares of a score's parts, and the size of its sparse term.

    `astec.export.artifact.scoring.shares.Shares` has the formula (paper, section 4). `sparse_weights` counts the
    weights of all labels together; 0: there is no sparse term. `logistic`: logits are mixed, not probabilities.
    """

    alpha: Fraction
    beta: Fraction
    gamma: Fraction
    delta: Fraction
    sparse_weights: Count
    logistic: Logistic | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.gamma + self.delta > 1:
            raise ValueError(f"gamma {self.gamma} and delta {self.delta} are more than 1 together")
        if self.gamma > 0 and not self.sparse_weights:
            raise ValueError(f"gamma is {self.gamma}, but there is no sparse term to mix in")
        return self


class Calibration(Frozen):
    """The map from a score to the probability that the label is right, linear between its knots.

    It was learnt from `pairs` of a held-out text and a label; `expected_error` is the expected calibration error on
    texts that the map was not fitted on.
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


class LogitLine(Frozen):
    """The logit of a label for a text, from their similarity: slope * similarity + bias."""

    slope: float
    bias: float


class LabelTextFit(Frozen):
    """The lines by which a label is added that is known by its text alone, learnt from the run's own labels.

    Attributes:
        dense: the logit of the dense classifier.
        sparse: the logit of the sparse classifier.
        label_text_share: the share of the labels' own texts within the sparse term; 0 where both lines were fitted
            together, which leaves the texts nothing to add.
    """

    dense: LogitLine
    sparse: LogitLine
    label_text_share: Fraction


class UpdateDescription(Frozen):
    """The changes by `astec-update` since the full export.

    Attributes:
        base_version: the version of the full export.
        updates: the number of updates.
        added_labels: the labels added by all of them, the last labels of the model; their vectors are not in the
            indices, but beside them.
        removed_labels: the labels that no answer names any more.
    """

    base_version: str = Field(min_length=1, max_length=MAX_IDENTITY_CHARS)
    updates: Positive
    added_labels: Count
    removed_labels: Count


class ShardDescription(Frozen):
    """The part of a model that an artifact holds whose labels are divided between several artifacts.

    Attributes:
        index: the number of this shard, from 0.
        count: the number of shards of the model.
        model_sha256: a hash over everything that changes the whole model's answers, equal in all its shards.
    """

    index: Count
    count: Positive
    model_sha256: Sha256

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"shard {self.index} is none of {self.count} shards, whose numbers begin at 0")
        return self


ValueKind = Literal["string", "boolean", "integer"]


class LabelColumn(Frozen):
    """A column of label metadata: its name, the kind of its values and the number of distinct values."""

    name: str = Field(min_length=1, max_length=MAX_COLUMN_NAME_CHARS)
    kind: ValueKind
    values: Count


class FileRecord(Frozen):
    """The size and the hash of a file."""

    bytes: Count
    sha256: Sha256


class Manifest(Frozen):
    """`manifest.json`, format version 2. Everything that changes answers is here, not in the server's settings.

    Attributes:
        max_candidates: the most labels of a query that are scored; None: all labels of its hits.
        calibration: the map from scores to probabilities; None: the model has no probabilities.
        training_texts: True if the artifact holds the texts of the training points, which explanations quote.
        label_metadata: the columns by which requests may filter labels.
        point_weights: True if the labels of training points have weights, by which they vote.
        head: True if the matrices that follow v are also stored as arrays, beside the ONNX graph.
        label_text_fit: what `astec-update` adds labels by; None where the run does not allow it.
        update: the changes since the full export; None in a full export.
        shard: which shard of a model this is; None: the whole model.
    """

    format_version: Literal[2]
    model: ModelIdentity
    created: str
    dimensions: Dimensions
    featurizer: FeaturizerIdentity
    centroids: IndexDescription | None
    points: IndexDescription | None
    max_candidates: Positive | None
    weights: WeightType
    scoring: Scoring
    metrics: dict[str, float]
    training: dict[str, str | Integer | float | bool | None]
    files: dict[FileName, FileRecord]
    calibration: Calibration | None = None
    encoder: EncoderDescription = EncoderDescription()
    training_texts: bool = False
    label_metadata: list[LabelColumn] = Field(default=[], max_length=MAX_LABEL_COLUMNS)
    head: bool = False
    point_weights: bool = False
    label_text_fit: LabelTextFit | None = None
    update: UpdateDescription | None = None
    shard: ShardDescription | None = None

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
        if self.point_weights and self.points is None:
            raise ValueError("point_weights is true, but there are no points that vote")
        if self.shard is not None and self.update is not None:
            raise ValueError("shard and update are both given, but a shard is never updated")
        if self.head and self.encoder.reads != "bag":
            raise ValueError(f"head is true, but the encoder reads {self.encoder.reads}, no bag")
        names = [column.name for column in self.label_metadata]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"two columns of label_metadata have the same name: {name!r}")
        return self

    def public(self) -> dict[str, Any]:
        """Return the part that clients may read: everything except the files."""
        return self.model_dump(mode="json", exclude={"files"})
