"""What a client asks, and the JSON that carries it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Features:
    """A query as feature ids, for models trained on pre-featurised data.

    Args:
        ids: Distinct feature ids.
        weights: One weight per id; None: 1 each.
    """

    ids: Sequence[int]
    weights: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A query as a vector of all features, for models trained on such.

    Args:
        numbers: As many as the model has features.
    """

    numbers: Sequence[float]


Query = str | Features | Vector
LabelValue = str | bool | int
Conditions = Mapping[str, LabelValue | Collection[LabelValue]]
"""By column of the model's label metadata a value, or several."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """How much of a ranking is wanted, and of which labels; what is None is left to the server's defaults."""

    top_k: int | None = None
    min_score: float | None = None
    probabilities: bool | None = None
    filter: Conditions | None = None
    exclude: Conditions | None = None


JSON_BODY = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of a request to `/predict`, and how many rankings answer it."""

    body: bytes
    num_queries: int
    is_single: bool


def ask_one(query: Query, narrowing: Narrowing) -> Asked:
    """Return the request that asks for one ranking.

    Raises:
        ValueError: JSON in UTF-8 cannot carry it: NaN, infinity, a lone surrogate.
    """
    return Asked(_to_body({"query": _to_json(query)}, narrowing), 1, is_single=True)


def ask_why(query: Query, narrowing: Narrowing) -> Asked:
    """Return the request that asks for one ranking and its explanation.

    Raises:
        ValueError: JSON in UTF-8 cannot carry it: NaN, infinity, a lone surrogate.
    """
    return Asked(_to_body({"query": _to_json(query), "explain": True}, narrowing), 1, is_single=True)


def ask_many(queries: Sequence[Query], narrowing: Narrowing, max_per_request: int) -> Iterator[Asked]:
    """Yield the requests that ask for the rankings of `queries`, in order.

    Raises:
        TypeError: `queries` is one text, whose characters would be asked one by one.
        ValueError: JSON in UTF-8 cannot carry a query.
    """
    if isinstance(queries, str):
        raise TypeError("predict_many takes a sequence of queries, and got one text; use predict for that")
    for start in range(0, len(queries), max_per_request):
        part = queries[start : start + max_per_request]
        body = _to_body({"queries": [_to_json(query) for query in part]}, narrowing)
        yield Asked(body, len(part), is_single=False)


def _to_json(query: Query) -> object:
    if isinstance(query, str):
        return query
    if isinstance(query, Vector):
        return {"vector": [float(number) for number in query.numbers]}
    features: dict[str, list[Any]] = {"ids": list(query.ids)}
    return features if query.weights is None else features | {"weights": list(query.weights)}


def _conditions_to_json(conditions: Conditions | None) -> object:
    if conditions is None:
        return None
    return {name: given if isinstance(given, str | int) else list(given) for name, given in conditions.items()}


def _to_body(asked: dict[str, object], narrowing: Narrowing) -> bytes:
    narrowed = {
        "top_k": narrowing.top_k,
        "min_score": narrowing.min_score,
        "probabilities": narrowing.probabilities,
        "filter": _conditions_to_json(narrowing.filter),
        "exclude": _conditions_to_json(narrowing.exclude),
    }
    asked |= {name: value for name, value in narrowed.items() if value is not None}
    return json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
