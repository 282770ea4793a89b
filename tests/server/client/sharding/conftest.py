"""Shards of a model, and the model itself, each behind the real application in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.packing.shards import pack_shards
from astec.export.search.indices import Indices
from astec.server.app import create_app
from astec.server.client.queries import Asked, PredictBody
from astec.server.client.sharding.async_fan_out import ShardTasks
from astec.server.client.sharding.policy import ShardPolicy
from astec.server.engine.labels.block_list import BlockList
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

Answer = dict[str, Any]


class Sharded(NamedTuple):
    """A model as one artifact, and the same model as shards."""

    whole: Artifact
    shards: list[Artifact]

    def ask(self, asked: Sequence[Asked], blocked: Path | None = None) -> list[tuple[Answer, Answer]]:
        """Return the answers of the whole model, and the merged ones of its shards, to the same requests."""
        return asyncio.run(self._ask(asked, blocked))

    async def _ask(self, asked: Sequence[Asked], blocked: Path | None) -> list[tuple[Answer, Answer]]:
        policy = ShardPolicy.of([f"http://shard-{number}" for number in range(len(self.shards))])
        async with AsyncExitStack() as stack:
            whole, *shards = [await self._client(stack, one, blocked) for one in (self.whole, *self.shards)]
            tasks = ShardTasks(policy, shards)
            return [(await _send(whole, one.body()), await tasks.predict(_send, one)) for one in asked]

    async def _client(self, stack: AsyncExitStack, artifact: Artifact, blocked: Path | None) -> httpx.AsyncClient:
        settings = Settings(artifact=artifact.path, request_timeout_ms=60_000)
        block_list = None if blocked is None else BlockList(blocked, artifact)
        app = create_app(settings, artifact, MetricsBoard(1).metrics(0), block_list=block_list)
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://t"))


async def _send(client: httpx.AsyncClient, body: PredictBody) -> Answer:
    response = await client.post("/predict", content=body.content)
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


def _sorted(sets: LabelSets) -> LabelSets:
    """Return the labels of each point in ascending order, as in every run of the trainer."""
    owners = np.repeat(np.arange(len(sets)), np.diff(sets.indptr))
    order = np.lexsort((sets.indices, owners))
    return LabelSets(sets.indptr, sets.indices[order], sets.weights[order] if len(sets.weights) else sets.weights)


@pytest.fixture
def shard(build_indices: Callable[..., Indices], tmp_path: Path) -> Callable[..., Sharded]:
    """Pack a checkpoint both ways: `shard(checkpoint, count, options, kind="points")`, with exact search."""

    def packed(checkpoint: Checkpoint, count: int, options: PackOptions = PackOptions(), **plan: Any) -> Sharded:  # noqa: B008
        checkpoint = replace(checkpoint, point_labels=_sorted(checkpoint.point_labels))
        indices = build_indices(checkpoint, **{"dim": 8, "backend": "flat", "kind": "points", **plan})
        pack(checkpoint, indices, tmp_path / "whole", "m", options)
        pack_shards(checkpoint, indices.plan, count, tmp_path / "shards", "m", options)
        shards = [open_artifact(tmp_path / "shards" / f"shard-{number}") for number in range(count)]
        return Sharded(open_artifact(tmp_path / "whole"), shards)

    return packed
