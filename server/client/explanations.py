"""The explanation of a ranking, and how it is read from the JSON of a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from astec.server.client.answers import JsonObject, Ranking, read_rankings
from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.queries import PredictBody


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """A token of the query, with its weight in the query or its contribution to a label's sparse term."""

    token: str
    weight: float


@dataclass(frozen=True, slots=True)
class QueryWord:
    """A word of the query.

    Args:
        text: The word as it is written in the query, which is `query[begin:end]`.
        begin: Where it begins.
        end: Where it ends.
        weight: Its share in what the model reads of the query; the shares of all words add up to 1. It is 0 if the
            model knows nothing of the word.
    """

    text: str
    begin: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class LabelExplanation:
    """The explanation of a label's score.

    Args:
        parts: The contribution of each part of the model to the score, by the name of the part; their sum is the score,
            or where the model mixes logits, its logit.
        tokens: The tokens of the sparse term, each with its contribution.
        word_weights: What all these tokens together contribute for each of the `words` of the query, in their order.
    """

    parts: Mapping[str, float]
    tokens: tuple[TokenWeight, ...]
    word_weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training text near the query.

    Args:
        text: The text, as far as the model reads it.
        similarity: Its cosine similarity to the query.
        vote: Its weight in the vote for each of its labels, or where the log had clicks, for the one with most; the
            votes of all neighbours add up to 1.
        labels: Its labels; labels that are in the ranking come first.
    """

    text: str
    similarity: float
    vote: float
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A ranking with its explanation.

    Args:
        ranking: The ranking, as `predict` returns it.
        tokens: The known tokens of the query, by decreasing weight.
        words: The words of the query, in order; empty if the query is features.
        labels: One explanation for each prediction, in order.
        neighbours: The nearest training texts; empty if the artifact does not contain its training texts.
    """

    ranking: Ranking
    tokens: tuple[TokenWeight, ...]
    words: tuple[QueryWord, ...]
    labels: tuple[LabelExplanation, ...]
    neighbours: tuple[Neighbour, ...]


def read_explanation(answer: JsonObject, body: PredictBody) -> Explanation:
    """Return the ranking and its explanation in a response of `/predict`.

    Raises:
        UnexpectedAnswerError: The JSON is not a response of `/predict` to this request.
    """
    (ranking,) = read_rankings(answer, body)
    try:
        found = answer["explanation"]
        labels = tuple(map(_read_label, found["labels"]))
        words = tuple(map(_read_word, found.get("words", ())))
        neighbours = tuple(map(_read_neighbour, found.get("neighbours", ())))
        return Explanation(ranking, _read_tokens(found["tokens"]), words, labels, neighbours)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswerError("The answer has no explanation. Is the server of this version?") from error


def _read_tokens(tokens: Sequence[JsonObject]) -> tuple[TokenWeight, ...]:
    return tuple(TokenWeight(token["token"], token["weight"]) for token in tokens)


def _read_word(word: JsonObject) -> QueryWord:
    return QueryWord(word["text"], word["begin"], word["end"], word["weight"])


def _read_label(label: JsonObject) -> LabelExplanation:
    parts = MappingProxyType(dict(label["parts"]))
    return LabelExplanation(parts, _read_tokens(label["tokens"]), tuple(label.get("word_weights", ())))


def _read_neighbour(neighbour: JsonObject) -> Neighbour:
    labels = tuple(neighbour["labels"])
    return Neighbour(neighbour["text"], neighbour["similarity"], neighbour["vote"], labels)
