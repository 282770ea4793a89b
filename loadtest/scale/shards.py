"""A model in shards beside the same model as one artifact: answers, the time of a query, and a shard that is killed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

import astec
from astec.export.artifact.manifest import Manifest
from astec.export.artifact.verification import read_manifest
from astec.export.packing.shards import shard_folder
from astec.loadtest.bench.in_process import percentiles_us
from astec.loadtest.bench.serving import Served, merging_command, ours_command, served
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.loadtest.scale.agreement import Agreement
from astec.loadtest.scale.errors import ScaleError
from astec.loadtest.scale.lost_shard import PATIENCE_S, POLICIES, Loss, kill_shard
from astec.loadtest.scale.rounds import Rounds
from astec.server.client import Ranking

_WARM_UP_QUERIES: Final = 50
_LOST_QUERIES: Final = 10
_PATIENT: Final = ("--request-timeout-ms", f"{1e3 * PATIENCE_S:.0f}")


@dataclass(frozen=True, slots=True)
class Part:
    """An artifact: the whole model, or one of its shards."""

    name: str
    manifest: Manifest
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """The figures of one comparison; each of the three ways to ask is `astec.Client`, one query at a time.

    Attributes:
        whole: the whole model.
        shards: its shards.
        agreements: of the answers of the client of the shards, and of `astec-serve --upstream`, with those of `whole`.
        rounds_us: microseconds of a query to the whole model, by the client of the shards, by `astec-serve --upstream`.
        losses: what the merging servers answered after the last shard was killed.
    """

    whole: Part
    shards: list[Part]
    agreements: list[Agreement]
    rounds_us: list[Rounds]
    losses: list[Loss]


def measure_shards(artifact: Path, folder: Path, texts: Sequence[str], rounds: int, top_k: int) -> ShardFigures:
    """Compare an artifact with the shards in a folder, and kill the last one.

    Args:
        artifact: the whole model.
        folder: as `astec-export --shards` wrote it, of the same run with the same settings.
        texts: the queries.
        rounds: into which the texts are divided; in each, the three ways have their turns.
        top_k: most labels of an answer.

    Raises:
        ArtifactError: an artifact cannot be opened.
        ScaleError: the shards are not those of this artifact.
        ServeError: a server does not start.
        AstecError: a query is not answered while all shards are there.
    """
    paths = _shard_paths(folder)
    whole, shards = _part("whole", artifact), [_part(path.name, path) for path in paths]
    _require_same_model(whole.manifest, [shard.manifest for shard in shards])
    with ExitStack() as stack:
        whole_server = stack.enter_context(served(ours_command(artifact, 1, *_PATIENT)))
        servers = [stack.enter_context(served(ours_command(path, 1, *_PATIENT))) for path in paths]
        urls = [server.url for server in servers]
        merging = {policy: stack.enter_context(_merging(urls, policy)) for policy in POLICIES}
        clients = [
            stack.enter_context(astec.Client(address, timeout_s=PATIENCE_S, deadline_s=PATIENCE_S))
            for address in (whole_server.url, urls, merging["fail"].url)
        ]
        rankings, rounds_us = _ask_in_turns(clients, texts, rounds, top_k)
        known = [text for text, ranking in zip(texts, rankings[0], strict=True) if len(ranking)]
        losses = kill_shard(servers[-1], merging, known[:_LOST_QUERIES])
    agreements = [Agreement.of(rankings[0], merged) for merged in rankings[1:]]
    return ShardFigures(whole, shards, agreements, rounds_us, losses)


def _merging(urls: Sequence[str], policy: str) -> AbstractContextManager[Served]:
    return served(merging_command(urls, "--on-missing", policy, *_PATIENT))


def _part(name: str, path: Path) -> Part:
    return Part(name, read_manifest(path), disk_size_bytes(path))


def _shard_paths(folder: Path) -> list[Path]:
    shard = read_manifest(shard_folder(folder, 0)).shard
    if shard is None:
        raise ScaleError(f"{shard_folder(folder, 0)} is a whole model. Give a folder of astec-export --shards")
    return [shard_folder(folder, index) for index in range(shard.count)]


def _require_same_model(whole: Manifest, shards: Sequence[Manifest]) -> None:
    """Check that shards search as the whole model does, and have its labels, as far as manifests tell.

    Raises:
        ScaleError: They do not.
    """
    if whole.shard is not None:
        raise ScaleError("the first argument is a shard. Give the artifact of the whole model")
    labels = sum(shard.dimensions.num_labels for shard in shards)
    if labels != whole.dimensions.num_labels:
        raise ScaleError(f"the shards have {labels:,} labels, the artifact {whole.dimensions.num_labels:,}")
    for shard in shards:
        for name in ("centroids", "points", "max_candidates", "weights", "encoder"):
            if getattr(shard, name) != getattr(whole, name):
                raise ScaleError(
                    f"`{name}` of the shards differs from the artifact's. Export both with the same settings"
                )


def _ask_in_turns(
    clients: Sequence[astec.Client], texts: Sequence[str], rounds: int, top_k: int
) -> tuple[list[list[Ranking]], list[Rounds]]:
    """Return the answers of each client to all texts, and the percentiles of its times in each round."""
    rankings: list[list[Ranking]] = [[] for _ in clients]
    rounds_us: list[Rounds] = [[] for _ in clients]
    for client in clients:
        _time(client, texts[:_WARM_UP_QUERIES], top_k)
    for part in np.array_split(np.arange(len(texts)), min(rounds, len(texts))):
        asked = [texts[row] for row in part]
        for client, answers, times_us in zip(clients, rankings, rounds_us, strict=True):
            found, percentiles = _time(client, asked, top_k)
            answers += found
            times_us.append(percentiles)
    return rankings, rounds_us


def _time(client: astec.Client, texts: Sequence[str], top_k: int) -> tuple[list[Ranking], list[float]]:
    found, seconds_Q = [], np.empty(len(texts))
    for row, text in enumerate(texts):
        begun_s = perf_counter()
        found.append(client.predict(text, top_k=top_k))
        seconds_Q[row] = perf_counter() - begun_s
    return found, percentiles_us(seconds_Q)
