"""What a client gets, read from the JSON of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, overload

from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.queries import Asked

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelName:
    """The model that answered."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its score, between 0 and 1; `probability`, how likely it is right, only where that was asked for."""

    label_id: int
    label: str
    score: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Prediction]):
    """The labels of one query, best first, and the model that ranked them; empty where no token is known."""

    model: ModelName
    predictions: tuple[Prediction, ...]

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
    """What is served.

    Args:
        name: Its name.
        version: Its version.
        manifest: The public part of the artifact's manifest: dimensions, index parameters, shares, figures.
    """

    name: str
    version: str
    manifest: JsonObject


def read_rankings(answer: JsonObject, asked: Asked) -> list[Ranking]:
    """Return the rankings in the answer of `/predict`, one per query.

    Raises:
        UnexpectedAnswerError: It is no answer to what was asked.
    """
    try:
        model = ModelName(answer["model"]["name"], answer["model"]["version"])
        results = [answer] if asked.is_single else answer["results"]
        rankings = [Ranking(model, tuple(map(_read_prediction, result["predictions"]))) for result in results]
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswerError("The answer is JSON, but not that of /predict. Is the address right?") from error
    if len(rankings) != asked.num_queries:
        raise UnexpectedAnswerError(f"{asked.num_queries} queries were asked, and {len(rankings)} rankings came back.")
    return rankings


def read_model(answer: JsonObject) -> ModelInfo:
    """Return what the answer of `/v1/model` says.

    Raises:
        UnexpectedAnswerError: It is no such answer.
    """
    try:
        return ModelInfo(answer["model"]["name"], answer["model"]["version"], MappingProxyType(answer))
    except (KeyError, TypeError) as error:
        raise UnexpectedAnswerError("The answer is JSON, but not that of /v1/model. Is the address right?") from error


def _read_prediction(prediction: JsonObject) -> Prediction:
    return Prediction(prediction["label_id"], prediction["label"], prediction["score"], prediction.get("probability"))
