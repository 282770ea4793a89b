"""The queries that a client sends, and the JSON bodies of its requests."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Features:
    """A query as feature ids, for models trained on pre-featurised data.

    Args:
        ids: Distinct feature ids.
        weights: One weight for each id; None: all weights are 1.
    """

    ids: Sequence[int]
    weights: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A query as a dense vector, for models trained on such vectors.

    Args:
        numbers: One number for each feature of the model.
    """

    numbers: Sequence[float]


Query = str | Features | Vector
LabelValue = str | bool | int
Conditions = Mapping[str, LabelValue | Collection[LabelValue]]
"""One value, or several, for columns of the model's label metadata."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of a request to `/predict`; None means the server's default.

    `candidates` asks one shard of a model for what is merged with the answers of the other shards.
    """

    top_k: int | None = None
    min_score: float | None = None
    probabilities: bool | None = None
    filter: Conditions | None = None
    exclude: Conditions | None = None
    model: str | None = None
    candidates: Literal["near", "all"] | None = None


@dataclass(frozen=True, slots=True)
class PredictBody:
    """The body of a request to `/predict`.

    Attributes:
        content: The JSON, in UTF-8.
        num_queries: The number of queries, and of rankings in the response.
        is_single: Whether the response has the form for a single query.
    """

    content: bytes
    num_queries: int
    is_single: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request asks: `queries`, or a single one, with an explanation of its ranking if wanted."""

    queries: Sequence[Query]
    options: PredictOptions
    single: bool
    explain: bool = False

    def body(self) -> PredictBody:
        """Return the body of the request.

        Raises:
            ValueError: JSON in UTF-8 cannot encode a query: it has NaN, infinity or a lone surrogate.
        """
        queries = [_to_json(query) for query in self.queries]
        request: dict[str, object] = {"query": queries[0]} if self.single else {"queries": queries}
        if self.explain:
            request["explain"] = True
        return PredictBody(_to_json_body(request, self.options), len(queries), self.single)


def in_batches(queries: Sequence[Query], options: PredictOptions, max_per_request: int) -> Iterator[Asked]:
    """Yield the requests for the rankings of `queries`, in order.

    Raises:
        TypeError: `queries` is a single text, whose characters would each be a query.
    """
    if isinstance(queries, str):
        raise TypeError("predict_many takes a sequence of queries, and got one text; use predict for that")
    for start in range(0, len(queries), max_per_request):
        yield Asked(queries[start : start + max_per_request], options, single=False)


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
    return {name: value if isinstance(value, str | int) else list(value) for name, value in conditions.items()}


def _to_json_body(request: dict[str, object], options: PredictOptions) -> bytes:
    given = {
        "top_k": options.top_k,
        "min_score": options.min_score,
        "probabilities": options.probabilities,
        "filter": _conditions_to_json(options.filter),
        "exclude": _conditions_to_json(options.exclude),
        "model": options.model,
        "candidates": options.candidates,
    }
    request |= {name: value for name, value in given.items() if value is not None}
    return json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
