"""Runs packed as shards: what each holds, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.shards import pack_shards, shards_of
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.export.updating.update import update_artifact

PLAN = ShortlistPlan(8, None, IndexPlan("flat", HnswParams(8, 50, 50), 15), 32)


def packed(checkpoint: Checkpoint, target: Path, count: int) -> list[Artifact]:
    pack_shards(checkpoint, PLAN, count, target, "m", PackOptions())
    return [open_artifact(target / f"shard-{index}") for index in range(count)]


def weighted(checkpoint: Checkpoint) -> Checkpoint:
    sets = checkpoint.point_labels
    weights = np.random.default_rng(5).uniform(0.2, 3, len(sets.indices)).astype(np.float32)
    return replace(checkpoint, point_labels=LabelSets(sets.indptr, sets.indices, weights))


def test_shards_divide_the_labels_and_keep_all_points_of_each(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint()
    shards = packed(checkpoint, tmp_path / "shards", 3)
    seen: dict[int, str] = {}
    points: dict[int, set[str]] = {}
    for artifact in shards:
        ids, index = artifact.shard, artifact.shortlister.points
        assert ids is not None
        assert index is not None
        assert len(artifact.labels) < len(checkpoint.labels)
        assert not seen.keys() & set(ids.labels.tolist())
        seen |= dict(zip(ids.labels.tolist(), artifact.labels, strict=True))
        for row, point in enumerate(ids.points.tolist()):
            labels = index.labels.take(np.array([row])).indices.tolist()
            assert labels
            points.setdefault(point, set()).update(artifact.labels[label] for label in labels)
    assert [seen[label] for label in range(len(checkpoint.labels))] == list(checkpoint.labels)
    sets = checkpoint.point_labels
    assert points == {
        point: {checkpoint.labels[label] for label in sets.take(np.array([point])).indices.tolist()}
        for point in range(len(sets))
    }


def test_shards_are_of_one_model(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    manifests = [artifact.manifest for artifact in packed(checkpoint, tmp_path / "shards", 3)]
    assert len({manifest.model.version for manifest in manifests}) == 1
    described = [manifest.shard for manifest in manifests if manifest.shard is not None]
    assert [(shard.index, shard.count) for shard in described] == [(0, 3), (1, 3), (2, 3)]
    (model_sha256,) = {shard.model_sha256 for shard in described}
    assert manifests[0].model.version == model_sha256[:12]
    again = packed(checkpoint, tmp_path / "again", 2)[1].manifest.shard
    assert again is not None
    assert again.model_sha256 == model_sha256
    changed = replace(checkpoint, model=replace(checkpoint.model, bias=checkpoint.model.bias + np.float32(1)))
    logits = changed.reference.logits + np.float32(1)
    changed = replace(changed, reference=replace(changed.reference, logits=logits))
    other = packed(changed, tmp_path / "other", 2)[0].manifest.shard
    assert other is not None
    assert other.model_sha256 != model_sha256


def test_shards_search_in_the_space_of_the_whole_model(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    projections = []
    for artifact in packed(make_checkpoint(), tmp_path / "shards", 3):
        assert artifact.head is not None
        projections.append(artifact.head.projection)
    assert np.array_equal(projections[0], projections[1])
    assert np.array_equal(projections[0], projections[2])


def test_points_with_weights_keep_those_of_their_heaviest_label(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    checkpoint = weighted(make_checkpoint())
    sets = checkpoint.point_labels
    for artifact in packed(checkpoint, tmp_path / "shards", 3):
        assert artifact.shard is not None
        heaviest = [sets.take(np.array([point])).weights.max() for point in artifact.shard.points]
        assert np.array_equal(artifact.shard.heaviest, np.array(heaviest, np.float32))


def test_a_label_keeps_its_shard_whatever_else_the_model_has() -> None:
    texts = [f"label {number}" for number in range(50)]
    shards = dict(zip(texts, shards_of(TextTable.from_texts(texts), 4).tolist(), strict=True))
    assert set(shards.values()) == {0, 1, 2, 3}
    some = texts[::-3]
    assert shards_of(TextTable.from_texts(some), 4).tolist() == [shards[text] for text in some]
    # Every release has to find a label where the one before had it.
    assert shards_of(TextTable.from_texts(["running shoes", "Größe", ""]), 1000).tolist() == [493, 437, 876]


def test_shards_without_labels_are_refused_and_nothing_is_published(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="would have none of the 150 labels; ask for fewer with --shards"):
        packed(make_checkpoint(), tmp_path / "shards", 149)
    assert not list(tmp_path.iterdir())


def test_a_shard_is_not_updated(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    artifact = packed(make_checkpoint(), tmp_path / "shards", 2)[1]
    with pytest.raises(ValueError, match="is shard 1 of 2: updated, it would be of another model"):
        update_artifact(artifact.path, tmp_path / "updated", remove=[artifact.labels[0]])
