"""What all shards of a model say about it: which model it is, and whether they are ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astec.server.client.answers import JsonObject
from astec.server.client.errors import ShardMismatchError, UnexpectedAnswerError
from astec.server.client.sharding.policy import ShardPolicy


def describe_model(policy: ShardPolicy, answers: Mapping[int, JsonObject]) -> dict[str, Any]:
    """Return the answer to `/v1/model` of all shards together, with each of them under `shards`.

    It is that of the first shard, with the labels of all; `missing` names shards that did not answer.

    Raises:
        ShardMismatchError: They are not shards of one model.
        UnexpectedAnswerError: An answer is not that of `/v1/model`.
    """
    first, shards, num_labels = next(iter(answers.values())), [], 0
    identity: tuple[object, ...] | None = None
    for position, answer in sorted(answers.items()):
        address = policy.addresses[position]
        try:
            shard, sizes = answer["shard"], answer["dimensions"]
            if shard is None:
                raise ShardMismatchError(f"{address} serves no shard, but a whole model; ask it alone, as one address")
            found = (answer["model"]["name"], answer["model"]["version"], shard["model_sha256"], shard["count"])
            shards.append({"address": address, "index": shard["index"], **sizes})
            num_labels += sizes["num_labels"]
        except (KeyError, TypeError) as error:
            raise UnexpectedAnswerError(f"The answer of {address} is JSON, but not that of /v1/model.") from error
        if identity is not None and found != identity:
            raise ShardMismatchError(f"The shards are of different models: {address} serves {found}, others {identity}")
        identity = found
    missing = [policy.addresses[position] for position in range(len(policy.addresses)) if position not in answers]
    dimensions = {**first["dimensions"], "num_labels": num_labels}
    return {**first, "dimensions": dimensions, "shards": shards} | ({"missing": missing} if missing else {})
