"""The explanation of a merged ranking, from those of the shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astec.server.client.answers import JsonObject
from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.sharding.candidates import Candidates, MergeRules
from astec.server.client.sharding.merge import Merged

MAX_NEIGHBOURS = 10
MAX_NEIGHBOUR_LABELS = 20
"""The most neighbours of an explanation, and the most labels of each, as a server explains."""


def merge_explanations(
    explanations: Sequence[JsonObject | None], parts: Sequence[Candidates], merged: Merged, rules: MergeRules
) -> dict[str, Any]:
    """Return the explanation of a merged ranking, as a server explains its own.

    Args:
        explanations: Of each shard, which explains all of its candidates.
        parts: The candidates of each shard.
        merged: Their ranking.
        rules: What of the whole model merging takes.

    Raises:
        UnexpectedAnswerError: An explanation is missing, or is not that of the candidates.
    """
    try:
        found = [explanation if explanation is not None else {} for explanation in explanations]
        labels = []
        for (number, position), _, vote in merged.ranked:
            label = found[number]["labels"][position]
            labels.append({**label, "parts": {**label["parts"], "votes": rules.votes * vote}})
        return {**found[0], "labels": labels, "neighbours": _neighbours(found, parts, merged)}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise UnexpectedAnswerError("A shard's answer has no explanation of its candidates.") from error


def _neighbours(found: Sequence[JsonObject], parts: Sequence[Candidates], merged: Merged) -> list[dict[str, Any]]:
    """Return the nearest training points with the labels that they have in all shards, those of the ranking first."""
    texts = [str(parts[number].texts[position]) for (number, position), _, _ in merged.ranked]
    ranks = {text: rank for rank, text in enumerate(texts)}
    neighbours = []
    for voter in merged.voters[:MAX_NEIGHBOURS]:
        # A shard explains its own nearest points alone, which are near in all shards or not at all.
        shown = [found[number]["neighbours"][at] for number, at in voter.at if at < len(found[number]["neighbours"])]
        if not shown:
            continue
        labels = sorted(
            (label for neighbour in shown for label in neighbour["labels"]),
            key=lambda label: ranks.get(label, len(ranks)),
        )
        vote, similarity = voter.share, voter.similarity
        text = shown[0]["text"]
        neighbours.append(
            {"text": text, "similarity": similarity, "vote": vote, "labels": labels[:MAX_NEIGHBOUR_LABELS]}
        )
    return neighbours
