"""The results that a client returns, and how they are read from the JSON of a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, overload

from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.queries import PredictBody

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelName:
    """Name and version of the model that ranked the labels."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its score between 0 and 1.

    `probability` is the probability that the label is right; None unless it was requested.
    """

    label_id: int
    label: str
    score: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Prediction]):
    """The predicted labels of one query, best first, and the model; empty if the model knows no token of the query.

    `missing` are the addresses of shards that did not answer, whose labels cannot be in the ranking.
    """

    model: ModelName
    predictions: tuple[Prediction, ...]
    missing: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether shards did not answer."""
        return bool(self.missing)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...

    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self.predictions[index]

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that the server serves.

    Args:
        name: Its name.
        version: Its version.
        manifest: The public part of the artifact's manifest: dimensions, index parameters, shares, figures.
    """

    name: str
    version: str
    manifest: JsonObject


def read_rankings(answer: JsonObject, body: PredictBody) -> list[Ranking]:
    """Return the rankings in a response of `/predict`, one for each query.

    Raises:
        UnexpectedAnswerError: The JSON is not a response of `/predict` to this body.
    """
    try:
        results = [answer] if body.is_single else answer["results"]
        # Where several models ranked the queries, each result names its own.
        missing = tuple(answer.get("missing", ()))
        rankings = [_read_ranking(result, answer.get("model"), missing) for result in results]
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswerError("The answer is JSON, but not that of /predict. Is the address right?") from error
    if len(rankings) != body.num_queries:
        raise UnexpectedAnswerError(f"{body.num_queries} queries were asked, and {len(rankings)} rankings came back.")
    return rankings


def read_model(answer: JsonObject) -> ModelInfo:
    """Return the model in a response of `/v1/model`.

    Raises:
        UnexpectedAnswerError: The JSON is not a response of `/v1/model`.
    """
    try:
        return ModelInfo(answer["model"]["name"], answer["model"]["version"], MappingProxyType(answer))
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswerError("The answer is JSON, but not that of /v1/model. Is the address right?") from error


def _read_ranking(result: JsonObject, model: JsonObject | None, missing: tuple[str, ...]) -> Ranking:
    named = result["model"] if model is None else model
    predictions = tuple(map(_read_prediction, result["predictions"]))
    return Ranking(ModelName(named["name"], named["version"]), predictions, missing)


def _read_prediction(prediction: JsonObject) -> Prediction:
    return Prediction(prediction["label_id"], prediction["label"], prediction["score"], prediction.get("probability"))
