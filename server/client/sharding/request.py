"""One request to all shards: the bodies that are sent, and the answer, in the form of a response of `/predict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from astec.server.client.answers import JsonObject
from astec.server.client.queries import Asked, PredictBody, Query
from astec.server.client.sharding.candidates import (
    ShardAnswer,
    read_shard_answer,
    require_one_model,
    require_same_model,
)
from astec.server.client.sharding.explain import merge_explanations
from astec.server.client.sharding.merge import Merged, merge, probability_of
from astec.server.client.sharding.policy import ShardPolicy


class ShardedRequest:
    """A request, merged as soon as the shards have answered.

    Args:
        policy: Names the shards.
        asked: What is asked.
    """

    def __init__(self, policy: ShardPolicy, asked: Asked) -> None:
        self._policy = policy
        self._asked = asked
        self._answers: list[ShardAnswer] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._missing: set[int] = set()

    def body(self) -> PredictBody | None:
        """Return the body to send to all shards now; None: everything is answered.

        Queries whose labels are filtered, and which have too few near them, are asked a second time.
        """
        if not self._answers:
            return self._body(self._asked.queries, has_all=False)
        lacking = self._lacking()
        return self._body([self._asked.queries[row] for row in lacking], has_all=True) if lacking else None

    def add(self, answers: Mapping[int, JsonObject]) -> None:
        """Merge the answers of the shards to the body, by the number of the shard's address.

        Raises:
            UnexpectedAnswerError: An answer is not one of a shard to this body.
            ShardMismatchError: The shards are not those of one model.
        """
        has_all = bool(self._answers)
        rows = self._lacking() if has_all else list(range(len(self._asked.queries)))
        addresses = self._policy.addresses
        self._missing |= set(range(len(addresses))) - answers.keys()
        read = [
            read_shard_answer(answer, addresses[shard], len(rows), single=self._asked.single)
            for shard, answer in sorted(answers.items())
        ]
        require_one_model(read, len(addresses))
        if self._answers:
            require_same_model(self._answers[0], read[0])
        self._answers = read
        filtered = self._asked.options.filter is not None or self._asked.options.exclude is not None
        for position, row in enumerate(rows):
            parts = [answer.candidates[position] for answer in read]
            first = read[0]
            merged = merge(parts, first.rules, first.top_k, first.min_score, filtered=filtered, has_all=has_all)
            self._results[row] = self._result(parts, merged) | {"lacks": merged.lacks}

    def answer(self) -> dict[str, Any]:
        """Return the answer to the whole request; `partial` and `missing` say that shards did not answer."""
        results = [
            {name: value for name, value in self._results[row].items() if name != "lacks"}
            for row in range(len(self._asked.queries))
        ]
        model = self._answers[0].model
        answer: dict[str, Any] = {"model": {"name": model.name, "version": model.version}}
        answer |= results[0] if self._asked.single else {"results": results}
        if self._missing:
            answer |= {"partial": True, "missing": [self._policy.addresses[shard] for shard in sorted(self._missing)]}
        return answer

    def _lacking(self) -> list[int]:
        return [row for row, result in sorted(self._results.items()) if result["lacks"]]

    def _body(self, queries: Sequence[Query], *, has_all: bool) -> PredictBody:
        options = replace(self._asked.options, candidates="all" if has_all else "near")
        return replace(self._asked, queries=queries, options=options).body()

    def _result(self, parts: Sequence[Any], merged: Merged) -> dict[str, Any]:
        first = self._answers[0]
        predictions = []
        for (number, position), score, _ in merged.ranked:
            part = parts[number]
            prediction = {"label_id": part.ids[position], "label": part.texts[position], "score": score}
            if first.rules.calibration is not None:
                prediction["probability"] = probability_of(score, first.rules.calibration)
            predictions.append(prediction)
        if not self._asked.explain:
            return {"predictions": predictions}
        explanations = [answer.explanation for answer in self._answers]
        return {"predictions": predictions, "explanation": merge_explanations(explanations, parts, merged, first.rules)}
