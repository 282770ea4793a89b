"""A shard that is killed: what the servers that merge its answers then say, by `--on-missing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import httpx

from astec.loadtest.bench.serving import Served

POLICIES: Final = ("fail", "partial")
PATIENCE_S: Final = 60.0
"""Seconds that a client waits for an answer: other work may keep the machine busy."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The answers of a merging server after one of its shards was killed.

    Attributes:
        policy: its `--on-missing`.
        asked: the number of requests.
        wrong: what is wrong with each answer that is not what the policy promises.
        slowest_s: the longest time of an answer, in seconds.
    """

    policy: str
    asked: int
    wrong: list[str]
    slowest_s: float


def kill_shard(shard: Served, merging: Mapping[str, Served], texts: Sequence[str]) -> list[Loss]:
    """Kill the server of a shard, and ask the merging servers, given by policy, the same texts."""
    shard.kill()
    return [_ask(policy, server, shard.url, texts) for policy, server in merging.items()]


def problem_of(policy: str, status: int, answer: Mapping[str, Any], lost: str) -> str:
    """Return what is wrong with an answer after the shard at the address `lost` was killed; empty: nothing.

    "fail" promises status 503 and a message that names the address; "partial" the labels of the other shards, marked
    as partial, and the address under `missing`.
    """
    if policy == "fail":
        if status != httpx.codes.SERVICE_UNAVAILABLE:
            return f"status {status} instead of 503"
        return "" if lost in str(answer.get("detail")) else "a message that does not name the address"
    if status != httpx.codes.OK:
        return f"status {status} instead of 200"
    if answer.get("partial") is not True or answer.get("missing") != [lost]:
        return "an answer that is not marked as partial, or does not name the address alone under `missing`"
    return "" if answer["predictions"] else "an answer without labels of the other shards"


def _ask(policy: str, server: Served, lost: str, texts: Sequence[str]) -> Loss:
    problems, slowest_s = [], 0.0
    for text in texts:
        begun_s = perf_counter()
        response = httpx.post(f"{server.url}/predict", json={"query": text}, timeout=PATIENCE_S)
        slowest_s = max(slowest_s, perf_counter() - begun_s)
        problems.append(problem_of(policy, response.status_code, response.json(), lost))
    return Loss(policy, len(texts), list(filter(None, problems)), slowest_s)
