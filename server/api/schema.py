"""The JSON of requests and responses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypeAliasType

from astec.export.artifact.manifest import Calibration, LabelColumn
from astec.server.engine.explanations.explanation import Explanation

# Validation of a list stops at its first error: half a million errors in one body would take seconds to report.

MAX_CONDITIONS = 32
"""The most columns in a `filter` or an `exclude`; a model has no more."""
MAX_VALUES = 100
MAX_VALUE_CHARS = 512
MAX_TOP_K = 100


class RequestModel(BaseModel):
    """A part of a request: unknown fields and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Numbers = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(fail_fast=True)]


class Features(RequestModel):
    """A query as feature ids or as a vector of all features, for models that were trained on features."""

    ids: Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(fail_fast=True)] | None = Field(
        default=None, description="Distinct feature ids."
    )
    weights: _Numbers | None = Field(default=None, description="One weight per id; 1 each where left out.")
    vector: _Numbers | None = Field(default=None, description="In place of ids and weights, every feature in order.")

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if (self.ids is None) == (self.vector is None):
            raise ValueError("Give either ids or a vector")
        if self.ids is None:
            if self.weights is not None:
                raise ValueError("A vector has no weights beside it; give ids with them")
            return self
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(f"There are {len(self.ids)} ids but {len(self.weights)} weights; give one weight per id")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("The ids repeat; add up the weights of equal ids")
        return self


def _query_kind(value: object) -> str | None:
    if isinstance(value, str):
        return ":text"
    return ":features" if isinstance(value, dict | Features) else None


# A name here is one in the schema of the API, and so in clients that are generated from it.
Query = TypeAliasType(
    "Query",
    Annotated[
        Annotated[str, Tag(":text")] | Annotated[Features, Tag(":features")],
        Discriminator(
            _query_kind,
            custom_error_type="query_kind",
            custom_error_message="A query is a string, or an object with ids and weights or with a vector",
        ),
    ],
)


def _value_kind(value: object) -> str | None:
    for kind, tag in ((str, ":string"), (bool, ":boolean"), (int, ":integer"), (list, ":list")):
        if isinstance(value, kind):
            return tag
    return None


_INT64 = WithJsonSchema({"type": "integer", "format": "int64"})  # As numbers, the limits would be rounded.
_Value = (
    Annotated[Annotated[str, Field(max_length=MAX_VALUE_CHARS)], Tag(":string")]
    | Annotated[bool, Tag(":boolean")]
    | Annotated[Annotated[int, Field(ge=-(2**63), le=2**63 - 1), _INT64], Tag(":integer")]
)
LabelValue = TypeAliasType(
    "LabelValue",
    Annotated[
        _Value,
        Discriminator(
            _value_kind,
            custom_error_type="label_value",
            custom_error_message="A value is a string, a boolean or an integer",
        ),
    ],
)
_Values = Annotated[list[LabelValue], Field(min_length=1, max_length=MAX_VALUES, fail_fast=True)]
LabelValues = TypeAliasType(
    "LabelValues",
    Annotated[
        _Value | Annotated[_Values, Tag(":list")],
        Discriminator(
            _value_kind,
            custom_error_type="label_values",
            custom_error_message="Give a string, a boolean, an integer, or a list of those",
        ),
    ],
)
LabelConditions = Annotated[dict[str, LabelValues], Field(max_length=MAX_CONDITIONS)]


class PredictRequest(RequestModel):
    """One `query` or several `queries`."""

    # `queries_of` checks that it is one of the two: a validator in Python would double the time of parsing.

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "red running shoes size 42"},
                {"queries": ["red running shoes", "garden hose 20 m"], "top_k": 3, "min_score": 0.2},
                {"query": "red running shoes", "filter": {"country": ["DE", "AT"]}, "exclude": {"advertiser": "acme"}},
            ]
        }
    )

    query: Query | None = Field(default=None, description="A text, or feature ids for models that take those.")
    queries: Annotated[list[Query], Field(fail_fast=True)] | None = Field(
        default=None, min_length=1, description="Queries, answered in order."
    )
    model: str | None = Field(
        default=None, description="Name of the model that shall answer, where several are served (`/v2/models`)."
    )
    top_k: int = Field(default=5, ge=1, le=MAX_TOP_K, description="Most labels per query.")
    min_score: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="Labels below it are left out.")
    probabilities: bool = Field(
        default=False,
        description="Also say how likely each label is right. Needs a model with a `calibration` (`/v1/model`).",
    )
    filter: LabelConditions | None = Field(
        default=None,
        description="By column of the model's label metadata a value, or a list of them: a label must have one.",
    )
    exclude: LabelConditions | None = Field(
        default=None, description="Likewise; labels that have one of the values are left out."
    )
    explain: bool = Field(
        default=False,
        description="Also say why: what each part adds to a score, which tokens speak for the label, and, where the "
        "model carries them, which training texts are near. With one `query` only; takes a millisecond more.",
    )
    candidates: Literal["near", "all"] | None = Field(
        default=None,
        description="For clients that merge shards of a model, and of shards only: answer with `candidates`, not "
        "`predictions`. `all` adds the best labels that are not near the query.",
    )


def queries_of(request: PredictRequest) -> list[str | Features]:
    """Return the queries of a request, one or several.

    Raises:
        ValueError: The request has both `query` and `queries`, or neither.
    """
    if (request.query is None) == (request.queries is None):
        raise ValueError('Give exactly one of "query" and "queries"')
    return [request.query] if request.query is not None else request.queries or []


class ModelName(BaseModel):
    """The model that answered."""

    name: str
    version: str


class Prediction(BaseModel):
    """A label and its score, between 0 and 1."""

    label_id: int
    label: str
    score: float
    probability: float | SkipJsonSchema[None] = Field(
        default=None, description="How likely the label is right, between 0 and 1; where it was asked for."
    )


class Predictions(BaseModel):
    """The labels of one query, best first; empty if no token of the query is known."""

    predictions: list[Prediction]


class Merged(BaseModel):
    """The fields of an answer that is merged from those of shards, if some did not answer (`--on-missing partial`)."""

    partial: bool | SkipJsonSchema[None] = Field(
        default=None, description="True: shards did not answer, and their labels are missing."
    )
    missing: list[str] | SkipJsonSchema[None] = Field(default=None, description="The addresses of these shards.")


class SingleResponse(Predictions, Merged):
    """The answer to `query`."""

    model: ModelName
    explanation: Explanation | SkipJsonSchema[None] = Field(default=None, description="Where it was asked for.")


class Result(Predictions):
    """The labels of one of several queries."""

    model: ModelName | SkipJsonSchema[None] = Field(
        default=None, description="Where the queries were answered by several models."
    )


class BatchResponse(Merged):
    """The answer to `queries`, in their order."""

    model: ModelName | SkipJsonSchema[None] = Field(
        default=None, description="Where one model answered all queries; else each result has its own."
    )
    results: list[Result]


PredictAnswer = TypeAliasType("PredictAnswer", SingleResponse | BatchResponse)


class ModelDescription(BaseModel):
    """The public part of the manifest, of which these are the fields that most clients need, and a few queries."""

    model_config = ConfigDict(extra="allow")

    model: ModelName
    created: str
    max_candidates: int | None = Field(description="The most labels of a query; null: no limit.")
    calibration: Calibration | None = Field(description="null: the model has no probabilities.")
    label_metadata: list[LabelColumn] = Field(description="The columns for `filter` and `exclude`.")
    metrics: dict[str, float] = Field(description="Figures of held-out texts, in percent.")
    examples: list[str] = Field(description="Queries to try the model with.")
    served_as: str | SkipJsonSchema[None] = Field(
        default=None, description="The name that was given to the model where the server was started."
    )


class Status(BaseModel):
    """The state of the server."""

    status: str
