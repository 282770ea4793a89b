"""Why a ranking is as it is, read from the JSON of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from astec.server.client.answers import JsonObject, Ranking, read_rankings
from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.queries import Asked


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """A token of the query and what it weighs, or adds to a label's sparse term."""

    token: str
    weight: float


@dataclass(frozen=True, slots=True)
class LabelExplanation:
    """Why a label has its score.

    Args:
        parts: What each part adds to the score, by its name; together they are the score.
        tokens: Those of the sparse term, by what each adds to it.
    """

    parts: Mapping[str, float]
    tokens: tuple[TokenWeight, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training text near the query.

    Args:
        text: As far as the model looks at it.
        similarity: The cosine by which it was found.
        vote: What it gives to the vote of each of its labels; of all that vote these add up to 1.
        labels: Those of the ranking first.
    """

    text: str
    similarity: float
    vote: float
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A ranking, and why it is as it is.

    Args:
        ranking: As `predict` returns it.
        tokens: The known tokens of the query, the heaviest first.
        labels: One for each prediction, in order.
        neighbours: The nearest training texts; none where the artifact does not carry them.
    """

    ranking: Ranking
    tokens: tuple[TokenWeight, ...]
    labels: tuple[LabelExplanation, ...]
    neighbours: tuple[Neighbour, ...]


def read_explanation(answer: JsonObject, asked: Asked) -> Explanation:
    """Return the ranking in the answer of `/predict` with its explanation.

    Raises:
        UnexpectedAnswerError: It is no answer to what was asked.
    """
    (ranking,) = read_rankings(answer, asked)
    try:
        found = answer["explanation"]
        labels = tuple(
            LabelExplanation(MappingProxyType(dict(label["parts"])), _read_tokens(label["tokens"]))
            for label in found["labels"]
        )
        neighbours = tuple(map(_read_neighbour, found.get("neighbours", ())))
        return Explanation(ranking, _read_tokens(found["tokens"]), labels, neighbours)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswerError("The answer has no explanation. Is the server of this version?") from error


def _read_tokens(tokens: Sequence[JsonObject]) -> tuple[TokenWeight, ...]:
    return tuple(TokenWeight(token["token"], token["weight"]) for token in tokens)


def _read_neighbour(neighbour: JsonObject) -> Neighbour:
    labels = tuple(neighbour["labels"])
    return Neighbour(neighbour["text"], neighbour["similarity"], neighbour["vote"], labels)
