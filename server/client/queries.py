"""What a client asks, and the JSON that carries it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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


Query = str | Features

JSON_BODY = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of a request to `/predict`, and how many rankings answer it."""

    body: bytes
    num_queries: int
    is_single: bool


def ask_one(query: Query, top_k: int | None, min_score: float | None, probabilities: bool | None) -> Asked:
    """Return the request that asks for one ranking.

    Raises:
        ValueError: JSON in UTF-8 cannot carry it: NaN, infinity, a lone surrogate.
    """
    return Asked(_to_body({"query": _to_json(query)}, top_k, min_score, probabilities), 1, is_single=True)


def ask_why(query: Query, top_k: int | None, min_score: float | None) -> Asked:
    """Return the request that asks for one ranking and its explanation.

    Raises:
        ValueError: JSON in UTF-8 cannot carry it: NaN, infinity, a lone surrogate.
    """
    return Asked(_to_body({"query": _to_json(query), "explain": True}, top_k, min_score, None), 1, is_single=True)


def ask_many(
    queries: Sequence[Query],
    top_k: int | None,
    min_score: float | None,
    probabilities: bool | None,
    max_per_request: int,
) -> Iterator[Asked]:
    """Yield the requests that ask for the rankings of `queries`, in order.

    Raises:
        TypeError: `queries` is one text, whose characters would be asked one by one.
        ValueError: JSON in UTF-8 cannot carry a query.
    """
    if isinstance(queries, str):
        raise TypeError("predict_many takes a sequence of queries, and got one text; use predict for that")
    for start in range(0, len(queries), max_per_request):
        part = queries[start : start + max_per_request]
        body = _to_body({"queries": [_to_json(query) for query in part]}, top_k, min_score, probabilities)
        yield Asked(body, len(part), is_single=False)


def _to_json(query: Query) -> object:
    if isinstance(query, str):
        return query
    features: dict[str, list[Any]] = {"ids": list(query.ids)}
    return features if query.weights is None else features | {"weights": list(query.weights)}


def _to_body(asked: dict[str, object], top_k: int | None, min_score: float | None, probabilities: bool | None) -> bytes:
    """What is None is left out, so that the server's defaults hold."""
    narrowed = {"top_k": top_k, "min_score": min_score, "probabilities": probabilities}
    asked |= {name: value for name, value in narrowed.items() if value is not None}
    return json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
