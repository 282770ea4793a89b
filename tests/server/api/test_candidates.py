"""The field `candidates` of a request, where the model is no shard, and where an endpoint does not answer with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.shards import pack_shards
from astec.export.search.plan import IndexPlan, ShortlistPlan
from tests.server.conftest import Serve


async def test_a_whole_model_refuses_to_answer_with_candidates(serve: Serve) -> None:
    async with serve() as (_, client):
        answer = await client.post("/predict", json={"query": "shoes", "candidates": "near"})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "candidates"
        assert "The model here is whole, and no shard" in error["message"]


async def test_a_shard_answers_candidates_and_predictions(
    serving: Callable[[Artifact], Serve], make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    plan = ShortlistPlan(8, None, IndexPlan("flat", HnswParams(8, 50, 50), 15))
    pack_shards(make_checkpoint(), plan, 2, tmp_path / "shards", "m", PackOptions())
    artifact = open_artifact(tmp_path / "shards" / "shard-1")
    async with serving(artifact)(cache_entries=10) as (_, client):
        asked = {"query": "running shoes", "candidates": "near"}
        first, again = [(await client.post("/predict", json=asked)).json() for _ in range(2)]
        assert first == again
        assert (first["shard"]["index"], first["shard"]["count"]) == (1, 2)
        assert first["candidates"]["known"]
        assert len(first["candidates"]["points"]["ids"]) == 15
        # Alone, a shard answers with its own labels.
        predictions = (await client.post("/predict", json={"query": "running shoes"})).json()["predictions"]
        assert {one["label"] for one in predictions} <= set(artifact.labels)
        unknown = (await client.post("/predict", json={"query": "", "candidates": "all"})).json()["candidates"]
        assert (unknown["known"], unknown["ids"]) == (False, [])
        line = (await client.post("/predict/stream", content=json.dumps(asked))).json()
        assert line["errors"][0]["message"] == "Only POST /predict answers with candidates; ask there"
