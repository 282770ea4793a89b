"""The answer of one shard, and the check that the answers of all shards are of one model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from astec.server.client.answers import JsonObject, ModelName
from astec.server.client.errors import ShardMismatchError, UnexpectedAnswerError

_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Points:
    """The training points that are nearest to a query in one shard, nearest first, and the labels that they carry.

    Point i has the next `sizes[i]` of `labels`, which are positions among the candidates, and of `label_weights`.
    `weights` is what a point's vote weighs before its labels do, `heaviest` the weight of its heaviest label.
    """

    ids: Sequence[int] = ()
    similarities: Sequence[float] = ()
    weights: Sequence[float] = ()
    heaviest: Sequence[float] = ()
    sizes: Sequence[int] = ()
    labels: Sequence[int] = ()
    label_weights: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one query in one shard.

    Attributes:
        known: Whether the model knows a token of the query.
        ids: Their ids in the whole model.
        texts: Their texts; None for a label that no answer may name.
        sums: The sums of all parts of their scores but the votes.
        points: The nearest training points.
        representatives: The similarity of each of the nearest label representatives, and the position of its label.
    """

    known: bool
    ids: Sequence[int]
    texts: Sequence[str | None]
    sums: Sequence[float]
    points: Points
    representatives: Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class MergeRules:
    """What of the whole model merging takes.

    Attributes:
        representatives: The nearest label representatives of a query that count.
        points: The nearest training points that count.
        max_candidates: The most labels that are scored; None: all.
        votes: The weight of the votes in the sum of the parts.
        bias: Is added to the sum where `logits`.
        logits: Whether a score is the sigmoid of the sum.
        calibration: Scores, ascending, and the probability at each; None: not asked for.
    """

    representatives: int
    points: int
    max_candidates: int | None
    votes: float
    bias: float
    logits: bool
    calibration: tuple[Sequence[float], Sequence[float]] | None


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """The answer of one shard: which one it is, of which model, and the candidates of each query."""

    address: str
    model: ModelName
    index: int
    count: int
    model_sha256: str
    rules: MergeRules
    top_k: int
    min_score: float
    candidates: Sequence[Candidates]
    explanation: JsonObject | None

    @property
    def described(self) -> str:
        """The shard and its model, as errors name them."""
        name, version = self.model.name, self.model.version
        digits = self.model_sha256[:_SHOWN_DIGITS]
        return f"{self.address} serves shard {self.index} of {self.count} of {name} {version} (hash {digits})"


def read_shard_answer(answer: JsonObject, address: str, num_queries: int, *, single: bool) -> ShardAnswer:
    """Read the answer of a shard.

    Raises:
        UnexpectedAnswerError: The JSON is not the answer of a shard to this request.
    """
    try:
        shard, rules, calibration = answer["shard"], answer["merge"], answer["merge"].get("calibration")
        results = [answer] if single else answer["results"]
        if len(results) != num_queries:
            raise ValueError(f"{num_queries} queries were asked, and {len(results)} results came back")
        return ShardAnswer(
            address=address,
            model=ModelName(str(answer["model"]["name"]), str(answer["model"]["version"])),
            index=int(shard["index"]),
            count=int(shard["count"]),
            model_sha256=str(shard["model_sha256"]),
            rules=MergeRules(
                int(rules["centroids"]),
                int(rules["points"]),
                None if rules["max_candidates"] is None else int(rules["max_candidates"]),
                float(rules["votes"]),
                float(rules["bias"]),
                bool(rules["logits"]),
                None if calibration is None else (_floats(calibration[0]), _floats(calibration[1])),
            ),
            top_k=int(answer["top_k"]),
            min_score=float(answer["min_score"]),
            candidates=[_read_candidates(result["candidates"]) for result in results],
            explanation=answer.get("explanation"),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswerError(
            f"The answer of {address} is JSON, but not that of a shard ({type(error).__name__}: {error}). Is it a "
            "server of this version, with an artifact of astec-export --shards?"
        ) from error


def require_one_model(answers: Sequence[ShardAnswer], num_addresses: int) -> None:
    """Check that the shards that answered are different ones of one model, which has as many as there are addresses.

    Raises:
        ShardMismatchError: They are not.
    """
    first = answers[0]
    for other in answers[1:]:
        require_same_model(first, other)
    for left, right in pairwise(sorted(answers, key=lambda answer: answer.index)):
        if left.index == right.index:
            raise ShardMismatchError(
                f"Two addresses serve the same shard: {left.described}, and so does {right.address}. Serve another "
                "shard at one of them"
            )
    if first.count != num_addresses:
        served = {answer.index for answer in answers}
        without = ", ".join(str(index) for index in range(first.count) if index not in served)
        raise ShardMismatchError(
            f"{first.described}, and {num_addresses} addresses are given. No address serves shard {without or '-'}; "
            "give the address of every shard"
        )


def require_same_model(one: ShardAnswer, other: ShardAnswer) -> None:
    """Raise ShardMismatchError unless two answers are of one model."""
    if (other.model, other.model_sha256, other.count) != (one.model, one.model_sha256, one.count):
        raise ShardMismatchError(
            f"The shards are of different models: {one.described}, and {other.described}. Serve shards of one export "
            "at all addresses"
        )


def _read_candidates(found: Mapping[str, Any]) -> Candidates:
    ids, texts, sums = found["ids"], found["texts"], _floats(found["sums"])
    if not len(ids) == len(texts) == len(sums):
        raise ValueError("the labels do not have an id, a text and a sum each")
    points, representatives = found.get("points"), found.get("centroids", {"similarities": (), "labels": ()})
    at = zip(_floats(representatives["similarities"]), _positions(representatives["labels"], len(ids)), strict=True)
    return Candidates(
        known=bool(found["known"]),
        ids=[int(label_id) for label_id in ids],
        texts=[text if text is None else str(text) for text in texts],
        sums=sums,
        points=Points() if points is None else _read_points(points, len(ids)),
        representatives=list(at),
    )


def _read_points(found: Mapping[str, Any], num_labels: int) -> Points:
    ids, labels = found["ids"], _positions(found["labels"], num_labels)
    ones = [1.0] * max(len(ids), len(labels))
    points = Points(
        [int(point) for point in ids],
        _floats(found["similarities"]),
        _floats(found["weights"]),
        _floats(found.get("heaviest", ones[: len(ids)])),
        [int(size) for size in found["sizes"]],
        labels,
        _floats(found.get("label_weights", ones[: len(labels)])),
    )
    if not len(ids) == len(points.similarities) == len(points.weights) == len(points.heaviest) == len(points.sizes):
        raise ValueError("the points do not have a similarity, a weight and a number of labels each")
    if min([*points.weights, *points.heaviest, *points.label_weights], default=1.0) <= 0:
        raise ValueError("a vote has no weight")
    if sum(points.sizes) != len(labels) or len(points.label_weights) != len(labels):
        raise ValueError(f"the points have {sum(points.sizes)} labels, and {len(labels)} are given")
    return points


def _floats(numbers: Sequence[Any]) -> list[float]:
    read = [float(number) for number in numbers]
    if not all(map(math.isfinite, read)):
        raise ValueError("a number is NaN or infinite")
    return read


def _positions(positions: Sequence[Any], count: int) -> list[int]:
    read = [int(position) for position in positions]
    if read and not 0 <= min(read) <= max(read) < count:
        raise ValueError(f"a label {max(read)} of {count} is named")
    return read
