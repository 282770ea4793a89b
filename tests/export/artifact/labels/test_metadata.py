"""Columns of label metadata: what a selection allows, and what of a damaged artifact is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.labels.metadata import LabelMetadata, Selection, kind_of, to_text
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from tests.artifact_files import FILES

NUM_LABELS = 12
COUNTRIES, RANKS = ("AT", "CH", "DE", "Ö", ""), (-3, 0, 7, 10)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"country": st.lists(st.sampled_from(COUNTRIES), max_size=3), "rank": st.none() | st.sampled_from(RANKS)}
    ),
    min_size=1,
    max_size=NUM_LABELS,
)
WANTED = st.lists(st.sampled_from(COUNTRIES), max_size=3, unique=True)


def written(folder: Path, rows: list[dict], num_labels: int = NUM_LABELS) -> LabelMetadata:
    table = folder / "labels.jsonl"
    table.write_text("".join(json.dumps({"label_id": label, **row}) + "\n" for label, row in enumerate(rows)))
    labels = TextTable.from_texts([f"label {label}" for label in range(num_labels)])
    return read_label_metadata(table, labels).metadata


def select(metadata: LabelMetadata, selection: Selection) -> list[int]:
    return np.flatnonzero(metadata.select(selection)).tolist()


def test_a_filter_asks_for_one_value_of_each_column_and_exclude_for_none(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"country": "DE", "active": True},
        {"country": ["AT", "DE"], "active": False},
        {"country": "AT"},
        {},
    ]
    metadata = written(tmp_path, rows, 5)
    assert select(metadata, Selection((), ())) == [0, 1, 2, 3, 4]
    assert select(metadata, Selection((("country", ("DE",)),), ())) == [0, 1]
    assert select(metadata, Selection((("country", ("AT", "DE")),), ())) == [0, 1, 2]
    assert select(metadata, Selection((("active", ("true",)), ("country", ("DE",))), ())) == [0]
    assert select(metadata, Selection((), (("country", ("DE",)),))) == [2, 3, 4]
    assert select(metadata, Selection((("country", ("AT",)),), (("active", ("false",)),))) == [2]
    assert select(metadata, Selection((("country", ("CH",)),), ())) == []
    assert select(metadata, Selection((), (("country", ("CH",)),))) == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="colour"):
        metadata.select(Selection((("colour", ("red",)),), ()))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(rows=ROWS, countries=WANTED, ranks=st.lists(st.sampled_from(RANKS), max_size=2), unwanted=WANTED)
def test_any_selection_is_what_looking_at_each_label_gives(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict],
    countries: list[str],
    ranks: list[int],
    unwanted: list[str],
) -> None:
    metadata = written(tmp_path_factory.mktemp("table"), rows)
    wanted = (("country", tuple(countries)), ("rank", tuple(map(to_text, ranks))))
    allowed = select(metadata, Selection(wanted, (("country", tuple(unwanted)),)))
    assert allowed == [
        label
        for label, row in enumerate(rows)
        if set(filter(None, row["country"])) & set(countries)
        and row["rank"] in ranks
        and not set(filter(None, row["country"])) & set(unwanted)
    ]


def test_values_of_one_kind_have_texts_of_their_own() -> None:
    assert [(kind_of(value), to_text(value)) for value in (True, False, 1, -1, "1", "true")] == [
        ("boolean", "true"),
        ("boolean", "false"),
        ("integer", "1"),
        ("integer", "-1"),
        ("string", "1"),
        ("string", "true"),
    ]


def test_an_artifact_has_what_was_packed_into_it(full_artifact: Path, label_metadata: LabelMetadata) -> None:
    artifact = open_artifact(full_artifact)
    found = artifact.label_metadata
    assert found is not None
    assert found.columns == tuple(artifact.manifest.label_metadata) == label_metadata.columns
    assert found.values == label_metadata.values
    assert found.num_labels == len(artifact.labels)
    for ours, theirs in zip(
        (found.labels.indptr, found.labels.indices),
        (label_metadata.labels.indptr, label_metadata.labels.indices),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert artifact.manifest.public()["label_metadata"] == [
        {"name": "country", "kind": "string", "values": 3},
        {"name": "rank", "kind": "integer", "values": 7},
        {"name": "active", "kind": "boolean", "values": 2},
    ]


def test_an_artifact_written_before_there_was_metadata_opens(artifact_copy: Path, reseal: Callable[..., None]) -> None:
    for name in ("label_values.bin", "label_values.offsets.npy", FILES.label_values_indptr, FILES.label_values_labels):
        (artifact_copy / name).unlink()
    reseal(artifact_copy, lambda manifest: manifest.pop("label_metadata"))
    artifact = open_artifact(artifact_copy)
    assert artifact.label_metadata is None
    assert artifact.manifest.public()["label_metadata"] == []


def test_the_version_of_a_model_tells_its_metadata(
    full_checkpoint: Checkpoint,
    full_indices: Indices,
    label_metadata: LabelMetadata,
    full_artifact: Path,
    tmp_path: Path,
) -> None:
    renamed = [column.model_copy(update={"name": f"the {column.name}"}) for column in label_metadata.columns]
    other = LabelMetadata(tuple(renamed), label_metadata.values, label_metadata.labels, label_metadata.num_labels)
    versions = {open_artifact(full_artifact).manifest.model.version}
    for name, metadata in (("none", None), ("renamed", other)):
        options = PackOptions(weights="float32", label_metadata=metadata)
        pack(full_checkpoint, full_indices, tmp_path / name, "demo", options)
        versions.add(open_artifact(tmp_path / name).manifest.model.version)
    assert len(versions) == 3


def test_values_that_a_search_would_not_find_are_refused(artifact_copy: Path, reseal: Callable[..., None]) -> None:
    blob = artifact_copy / "label_values.bin"
    blob.write_bytes(blob.read_bytes().replace(b"ATCHDE", b"DECHAT"))
    reseal(artifact_copy)
    with pytest.raises(ArtifactError, match="column 'country' do not ascend"):
        open_artifact(artifact_copy)


def test_a_number_of_values_that_the_files_do_not_have_is_refused(
    artifact_copy: Path, reseal: Callable[..., None]
) -> None:
    reseal(artifact_copy, lambda manifest: manifest["label_metadata"][0].update(values=4))
    with pytest.raises(ArtifactError, match="label_values: 12 values, not 13"):
        open_artifact(artifact_copy)
