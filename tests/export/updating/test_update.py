"""Artifacts with other labels than those that they are made from, on models with every part that an update changes.

Shapes: K labels of a query.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.added_labels import add_labels
from astec.export.packing.model_card import MODEL_CARD_FILE
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.exhaustive import ExhaustiveShortlister, search_exactly
from astec.export.search.indices import Indices
from astec.export.updating import update as update_module
from astec.export.updating.update import update_artifact
from astec.server.engine.predictor import Predictor

NEW = ["cheap purple running hose", "used chair for the garden phone", "running shoes with a garden hose"]


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="module")
def source(
    checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An artifact in float32 over both kinds of vectors, searched exactly in fewer dimensions, without metadata."""
    target = tmp_path_factory.mktemp("source") / "artifact"
    indices = build_indices(checkpoint, dim=8, backend="flat")
    pack(checkpoint, indices, target, "source", PackOptions(weights="float32"))
    return target


@pytest.fixture(scope="module")
def fused(
    checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An artifact that is answered from by the fused kernel, as those of default exports."""
    target = tmp_path_factory.mktemp("fused") / "artifact"
    pack(checkpoint, build_indices(checkpoint, dim=8, backend="hnsw-int8", kind="points"), target, "fused")
    return target


def answers(artifact: Artifact, queries: list[str], top_k: int = 5) -> list[list[tuple[str, float]]]:
    rankings, _ = Predictor(artifact).predict(queries, top_k)
    return [
        [(artifact.labels[label], score) for label, score in zip(*(array.tolist() for array in ranking), strict=True)]
        for ranking in rankings
    ]


def named(artifact: Artifact, queries: list[str], top_k: int = 5) -> list[list[str]]:
    return [[label for label, _ in found] for found in answers(artifact, queries, top_k)]


def own(artifact: Artifact, query: str, top_k: int) -> list[str]:
    """Return the best labels of a query without the added ones, which may be among them."""
    (found,) = named(artifact, [query], top_k + len(NEW))
    return [label for label in found if label not in NEW][:top_k]


def test_added_labels_answer_as_if_they_had_been_exported(
    source: Path, checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    extended = add_labels(checkpoint, NEW).checkpoint
    # The projection of the indices is fitted on the points: the same as without the added ones.
    indices = build_indices(checkpoint, dim=8, backend="flat")
    projection = indices.projection
    assert projection is not None
    z_Nd, z_Md = extended.points @ projection, extended.centroids @ projection
    params = indices.plan.sides()["points"].params
    indices = replace(indices, points=FlatIndex.build(z_Nd, params, 0), centroids=FlatIndex.build(z_Md, params, 0))
    pack(extended, indices, tmp_path / "exported", "source", PackOptions(weights="float32"))
    report = update_artifact(source, tmp_path / "updated", add=NEW)
    assert (report.added, report.removed, report.restored, report.unknown) == (3, 0, 0, [])
    queries = [*NEW, *list(checkpoint.labels)[:30], "qqqq zzzz"]
    updated = answers(open_artifact(tmp_path / "updated"), queries, 200)
    exported = answers(open_artifact(tmp_path / "exported"), queries, 200)
    assert [[label for label, _ in found] for found in updated] == [[label for label, _ in found] for found in exported]
    for ours, theirs in zip(updated, exported, strict=True):
        np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=1e-4)
    assert any(set(NEW) & {label for label, _ in found} for found in updated)


def test_a_second_update_adds_removes_and_restores(source: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    query = checkpoint.labels[0]
    (plain,) = named(open_artifact(source), [query], 10)
    update_artifact(source, tmp_path / "first", add=NEW[:2], remove=plain[:2])
    first = open_artifact(tmp_path / "first")
    assert own(first, query, 8) == plain[2:]
    report = update_artifact(tmp_path / "first", tmp_path / "second", add=[NEW[2], plain[0]], remove=[NEW[0]])
    assert (report.added, report.restored, report.removed) == (1, 1, 1)
    assert report.searched_beside == 3
    second = open_artifact(tmp_path / "second")
    assert own(second, query, 9) == [plain[0], *plain[2:]]
    assert list(second.labels) == [*checkpoint.labels, *NEW]
    update = second.manifest.update
    assert update is not None
    assert (update.updates, update.added_labels, update.removed_labels) == (2, 3, 2)
    versions = [
        open_artifact(path).manifest.model.version for path in (source, tmp_path / "first", tmp_path / "second")
    ]
    assert update.base_version == versions[0]
    assert len(set(versions)) == 3
    found = named(second, [NEW[0], NEW[1]], len(second.labels))
    assert NEW[0] not in found[0]
    assert NEW[1] in found[1]
    update_artifact(tmp_path / "second", tmp_path / "third", add=[plain[1], NEW[0]])
    third = open_artifact(tmp_path / "third")
    assert third.removed is None
    assert own(third, query, 10) == plain


def test_the_fused_kernel_finds_added_labels_and_names_no_removed_one(
    fused: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (plain,) = named(open_artifact(fused), [checkpoint.labels[0]], 10)
    update_artifact(fused, tmp_path / "updated", add=NEW, remove=plain[:3])
    artifact = open_artifact(tmp_path / "updated")
    predictor = Predictor(artifact)
    assert predictor._pipeline is not None
    assert own(artifact, checkpoint.labels[0], 7) == plain[3:]
    for text, found in zip(NEW, named(artifact, NEW, len(artifact.labels)), strict=True):
        assert text in found
    exhaustive = ExhaustiveShortlister(search_exactly(artifact.shortlister), len(artifact.labels))
    everything = replace(artifact, shortlister=exhaustive)
    for found in named(everything, [checkpoint.labels[0], *NEW], len(artifact.labels)):
        assert len(found) == len(artifact.labels) - 3
        assert not set(found) & set(plain[:3])


def test_the_same_update_gives_the_same_version_and_another_one_another(source: Path, tmp_path: Path) -> None:
    for name, add in (("a", NEW[:1]), ("b", NEW[:1]), ("c", NEW[1:2])):
        update_artifact(source, tmp_path / name, add=add)
    a, b, c = (open_artifact(tmp_path / name).manifest.model.version for name in "abc")
    assert a == b != c
    update_artifact(source, tmp_path / "named", add=NEW[:1], version="tuesday")
    assert open_artifact(tmp_path / "named").manifest.model.version == "tuesday"


def test_unchanged_files_are_links_and_the_source_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    report = update_artifact(source, tmp_path / "updated", remove=[open_artifact(source).labels[3]])
    written = {"removed_labels.npy", "model_card.md", "manifest.json", "manifest.sha256"}
    for path in (tmp_path / "updated").iterdir():
        if path.name in written:
            assert path.stat().st_nlink == 1, path.name
        else:
            assert path.samefile(source / path.name), path.name
    assert report.linked_bytes > 10 * report.written_bytes
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_files_are_copied_where_no_link_can_be_made(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    update_artifact(source, tmp_path / "updated", add=NEW)
    assert not any(
        path.samefile(source / path.name) for path in (tmp_path / "updated").iterdir() if (source / path.name).exists()
    )
    open_artifact(tmp_path / "updated")


def test_the_model_card_tells_each_update(source: Path, tmp_path: Path) -> None:
    labels = open_artifact(source).labels
    update_artifact(source, tmp_path / "first", add=NEW[:1], remove=[labels[0], labels[1]])
    update_artifact(tmp_path / "first", tmp_path / "second", add=NEW[1:])
    card = (tmp_path / "second" / MODEL_CARD_FILE).read_text()
    assert card.startswith((source / MODEL_CARD_FILE).read_text())
    assert card.count("## Updates") == 1
    rows = [line.split(" | ")[2:] for line in card.splitlines()[-2:]]
    assert rows == [["1", "2", "149 |"], ["3", "2", "151 |"]]


def test_label_metadata_of_described_labels_is_replaced_and_that_of_others_kept(
    checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    def table(rows: list[dict[str, object]]) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    labels = checkpoint.labels
    pack(checkpoint, build_indices(checkpoint, backend="flat"), tmp_path / "source", "source")
    rows: list[dict[str, object]] = [
        {"label": labels[0], "country": ["DE", "AT"]},
        {"label": labels[1], "country": "DE"},
    ]
    update_artifact(tmp_path / "source", tmp_path / "first", label_metadata=table(rows))
    rows = [{"label": labels[1], "country": "CH", "tier": 3}, {"label": NEW[0], "country": "DE"}]
    update_artifact(tmp_path / "first", tmp_path / "second", add=NEW[:1], label_metadata=table(rows))
    metadata = open_artifact(tmp_path / "second").label_metadata
    assert metadata is not None
    assert [(column.name, column.values) for column in metadata.columns] == [("country", 3), ("tier", 1)]
    of_value = {
        metadata.values[value]: sorted(metadata.labels.take(np.array([value])).indices.tolist()) for value in range(4)
    }
    assert of_value == {"AT": [0], "CH": [1], "DE": [0, len(labels)], "3": [1]}
    wrong = table([{"label": labels[2], "tier": "three"}])
    with pytest.raises(ValueError, match="column 'tier' of the label metadata is string, and in the artifact integer"):
        update_artifact(tmp_path / "second", tmp_path / "third", label_metadata=wrong)
    assert not (tmp_path / "third").exists()


def test_quoted_texts_of_added_labels(
    checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    texts = checkpoint.labels.from_texts(f"text {point}" for point in range(len(checkpoint.points)))
    quoting, indices = replace(checkpoint, point_texts=texts), build_indices(checkpoint, kind="points")
    pack(quoting, indices, tmp_path / "source", "source", PackOptions(training_texts=True))
    update_artifact(tmp_path / "source", tmp_path / "updated", add=NEW, remove=[checkpoint.labels[0]])
    predictor = Predictor(open_artifact(tmp_path / "updated"))
    explanation = predictor.explainer.explain(NEW[0], [])
    assert NEW[0] in [neighbour.text for neighbour in explanation.neighbours]
    assert not any(checkpoint.labels[0] in neighbour.labels for neighbour in explanation.neighbours)


def test_labels_without_a_known_token_are_left_out_and_told(source: Path, tmp_path: Path) -> None:
    report = update_artifact(source, tmp_path / "updated", add=[NEW[0], "日本語"])
    assert (report.added, report.unknown) == (1, ["日本語"])
    with pytest.raises(ValueError, match="of none of the 1 labels to add a token is known"):
        update_artifact(source, tmp_path / "none", add=["日本語"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "nothing is to be changed; give --add-labels, --remove-labels or --label-metadata"),
        ({"add": []}, "there is no label to add: the file has none"),
        ({"remove": []}, "there is no label to remove: the file has none"),
        ({"remove": ["no such label"]}, "1 of 1 labels to remove are not labels of the artifact: 'no such label'"),
        ({"add": NEW[:1], "remove": NEW[:1]}, "1 labels are to be added and removed: 'cheap purple"),
        ({"add": NEW[:1], "version": "v" * 200}, "the model's version has 200 characters"),
    ],
    ids=["nothing", "none-to-add", "none-to-remove", "unknown", "both", "version"],
)
def test_an_update_that_cannot_be_made_publishes_nothing(
    source: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        update_artifact(source, tmp_path / "updated", **changes)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_there_or_were_removed_before(source: Path, tmp_path: Path) -> None:
    labels = open_artifact(source).labels
    with pytest.raises(ValueError, match="1 of 2 labels to add are labels of the artifact already: "):
        update_artifact(source, tmp_path / "updated", add=[NEW[0], labels[2]])
    with pytest.raises(ValueError, match="all 150 labels of the artifact are to be removed; leave one at least"):
        update_artifact(source, tmp_path / "updated", remove=list(labels))
    update_artifact(source, tmp_path / "updated", remove=[labels[2]])
    with pytest.raises(ValueError, match="1 of 1 labels to remove were removed by an earlier update"):
        update_artifact(tmp_path / "updated", tmp_path / "again", remove=[labels[2]])


def test_paths_that_an_update_cannot_be_published_at(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is the artifact to update, which is never changed"):
        update_artifact(source, source.parent / "." / source.name, add=NEW)
    with pytest.raises(ValueError, match="lies in the artifact to update"):
        update_artifact(source, source / "new", add=NEW)
    with pytest.raises(FileExistsError, match="exists already; choose another path"):
        update_artifact(source, tmp_path, add=NEW)


def test_folders_that_cannot_be_updated(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        update_artifact(source.parent, tmp_path / "updated", add=NEW)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in source.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    content = bytearray((damaged / "embeddings.npy").read_bytes())
    content[-1] ^= 1
    (damaged / "embeddings.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"embeddings\.npy in .*damaged does not have the hash"):
        update_artifact(damaged, tmp_path / "updated", add=NEW)
    assert not (tmp_path / "updated").exists()


def test_models_that_take_no_labels_by_their_texts(
    checkpoint: Checkpoint,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path: Path,
) -> None:
    reranked = make_checkpoint(reranker_dim=24)
    pack(reranked, build_indices(reranked, backend="flat"), tmp_path / "reranked", "reranked")
    with pytest.raises(ValueError, match="cannot be added to a model with a re-ranker"):
        update_artifact(tmp_path / "reranked", tmp_path / "updated", add=NEW)
    update_artifact(tmp_path / "reranked", tmp_path / "updated", remove=[reranked.labels[0]])
    no_labels = LabelSets(np.zeros(len(checkpoint.held_out.labels) + 1, np.int64), np.empty(0, np.int32))
    blind = replace(checkpoint, held_out=replace(checkpoint.held_out, labels=no_labels))
    pack(blind, build_indices(checkpoint, backend="flat"), tmp_path / "blind", "blind")
    with pytest.raises(ValueError, match=r"does not hold what labels are added by .* export the run again"):
        update_artifact(tmp_path / "blind", tmp_path / "unseeing", add=NEW)


def test_many_labels_are_encoded_in_parts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update_artifact(source, tmp_path / "whole", add=NEW)
    monkeypatch.setattr(update_module, "_ENCODED_AT_ONCE", 2)
    update_artifact(source, tmp_path / "parts", add=NEW)
    whole, parts = (np.load(tmp_path / name / "added_vectors.npy") for name in ("whole", "parts"))
    np.testing.assert_allclose(whole, parts, atol=1e-6)
