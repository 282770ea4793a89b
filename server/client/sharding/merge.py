"""Merging: from the candidates of all shards to the ranking that the whole model gives.

A vote is the share of the nearest training points of the whole model, weighted by their similarity, that carry the
label, so that it is known only when the shards' points are put together. With exact search the result is that of the
unsharded artifact, to the rounding of float32; `astec.export.artifact.shortlist.votes` and
`astec.export.artifact.scoring` say why votes and scores are what they are.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from astec.server.client.sharding.candidates import Candidates, MergeRules


class Key(NamedTuple):
    """A label: the part (of the list of parts that are merged) that it is in, and its position there."""

    part: int
    position: int


class Voter(NamedTuple):
    """A training point near the query: its id, its similarity and its share of the votes, and the parts it is in."""

    point: int
    similarity: float
    share: float
    at: list[tuple[int, int]]
    """The parts that have the point, and its position among their points."""


class Ranked(NamedTuple):
    """A label of the answer, with its score and its vote."""

    key: Key
    score: float
    vote: float


@dataclass(frozen=True, slots=True)
class Merged:
    """The ranking of one query.

    Attributes:
        ranked: The labels, best first.
        voters: The training points that voted, nearest first.
        lacks: Whether there are fewer labels than asked for, although all shards together may have more that are
            allowed but not near: ask for these too.
    """

    ranked: list[Ranked]
    voters: list[Voter]
    lacks: bool


def merge(
    parts: Sequence[Candidates], rules: MergeRules, top_k: int, min_score: float, *, filtered: bool, has_all: bool
) -> Merged:
    """Merge the candidates of one query.

    Args:
        parts: The candidates of each shard.
        rules: What of the whole model merging takes.
        top_k: The most labels.
        min_score: Labels with a lower score are left out.
        filtered: Whether the request allows some labels only.
        has_all: Whether the shards were asked for labels that are not near, too.
    """
    voters = _voters(parts, rules)
    votes = _votes(parts, rules, voters)
    shown = [key for key in votes if parts[key.part].texts[key.position] is not None]
    narrowed = filtered or len(shown) < len(votes)
    limit = len(votes) if rules.max_candidates is None else rules.max_candidates
    most = max(limit, top_k) if filtered else limit
    kept = _most_voted(votes, most)
    answerable = [key for key in shown if key in kept]
    # Without a known token, no label is any nearer than another.
    lacks = narrowed and len(answerable) < top_k and parts[0].known
    if lacks and has_all:
        answerable = _all_shown(parts, votes)
    sums = [(_score(parts[key.part].sums[key.position], votes.get(key, 0.0), rules), key) for key in answerable]
    sums.sort(key=lambda one: -one[0])  # stable: of equal scores, the label found first stays before
    ranked = [Ranked(key, score, votes.get(key, 0.0)) for score, key in sums[:top_k] if score >= min_score]
    return Merged(ranked, voters, lacks and not has_all)


def probability_of(score: float, calibration: tuple[Sequence[float], Sequence[float]]) -> float:
    """Return the probability at a score: linear between the knots, constant beyond them."""
    scores, probabilities = calibration
    above = bisect_right(scores, score)
    if above in (0, len(scores)):
        return probabilities[0 if above == 0 else -1]
    low, high = scores[above - 1], scores[above]
    share = (score - low) / (high - low)
    return probabilities[above - 1] + share * (probabilities[above] - probabilities[above - 1])


def _voters(parts: Sequence[Candidates], rules: MergeRules) -> list[Voter]:
    """Return the nearest training points of all shards, each once, nearest first."""
    at: dict[int, list[tuple[int, int]]] = {}
    for number, part in enumerate(parts):
        for position, point in enumerate(part.points.ids):
            at.setdefault(point, []).append((number, position))

    def similarity(point: int) -> float:
        number, position = at[point][0]
        return parts[number].points.similarities[position]

    nearest = sorted(at, key=lambda point: (-similarity(point), point))[: rules.points]
    weights = []
    for point in nearest:
        number, position = at[point][0]
        weights.append(parts[number].points.weights[position] * parts[number].points.heaviest[position])
    total = sum(weights)
    return [
        Voter(point, similarity(point), weight / total, at[point])
        for point, weight in zip(nearest, weights, strict=True)
    ]


def _votes(parts: Sequence[Candidates], rules: MergeRules, voters: Sequence[Voter]) -> dict[Key, float]:
    """Return the vote of each label that is near, in the order in which an unsharded artifact finds them."""
    near = [
        (-similarity, part.ids[position], Key(number, position))
        for number, part in enumerate(parts)
        for similarity, position in part.representatives
    ]
    votes = {key: 0.0 for _, _, key in sorted(near)[: rules.representatives]}
    begins = [_begins(part.points.sizes) for part in parts]
    for voter in voters:
        labels: list[tuple[int, Key, float]] = []
        for number, position in voter.at:
            points, ids = parts[number].points, parts[number].ids
            begin = begins[number][position]
            share = voter.share / points.heaviest[position]
            for at in range(begin, begin + points.sizes[position]):
                label = points.labels[at]
                labels.append((ids[label], Key(number, label), share * points.label_weights[at]))
        for _, key, vote in sorted(labels):
            votes[key] = min(votes.get(key, 0.0) + vote, 1.0)
    return votes


def _begins(sizes: Sequence[int]) -> list[int]:
    begins, end = [], 0
    for size in sizes:
        begins.append(end)
        end += size
    return begins


def _most_voted(votes: dict[Key, float], most: int) -> set[Key]:
    """Return the labels with the highest votes; of equal votes, those found first."""
    if len(votes) <= most:
        return set(votes)
    return set(sorted(votes, key=lambda key: -votes[key])[:most])


def _all_shown(parts: Sequence[Candidates], votes: dict[Key, float]) -> list[Key]:
    """Return all labels that may be named, those with votes first."""
    keys = [*votes, *(Key(number, at) for number, part in enumerate(parts) for at in range(len(part.ids)))]
    return [key for key in dict.fromkeys(keys) if parts[key.part].texts[key.position] is not None]


def _score(others: float, vote: float, rules: MergeRules) -> float:
    total = others + rules.votes * vote
    return 0.5 + 0.5 * math.tanh((total + rules.bias) / 2) if rules.logits else total
