"""The ids of a shard's labels and points, as files that may be damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.shortlist.shard_ids import SHARD_LABELS_FILE, SHARD_POINTS_FILE, ShardIds
from astec.export.artifact.verification import read_manifest
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.shards import pack_shards
from astec.export.search.plan import IndexPlan, ShortlistPlan


@pytest.fixture
def shard(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> Path:
    plan = ShortlistPlan(8, None, IndexPlan("flat", HnswParams(8, 50, 50), 15))
    pack_shards(make_checkpoint(), plan, 2, tmp_path / "shards", "m", PackOptions())
    return tmp_path / "shards" / "shard-1"


@pytest.mark.parametrize("name", [SHARD_LABELS_FILE, SHARD_POINTS_FILE])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda ids: ids[:-1], "has shape"),
        (lambda ids: ids.astype(np.int32), "is int32, not int64"),
        (lambda ids: ids[::-1], "does not ascend from 0 or more"),
        (lambda ids: ids - 1_000, "does not ascend from 0 or more"),
        (np.zeros_like, "does not ascend from 0 or more"),
    ],
)
def test_ids_that_are_none_are_refused(shard: Path, name: str, change: Callable[..., np.ndarray], problem: str) -> None:
    manifest = read_manifest(shard)
    assert len(ShardIds.open(shard, manifest).labels) == manifest.dimensions.num_labels
    np.save(shard / name, change(np.load(shard / name)))
    with pytest.raises(ValueError, match=f"{name} {problem}"):
        ShardIds.open(shard, manifest)
