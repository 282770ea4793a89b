from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.signals.histograms import SignalHistogram
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import write_checkpoint
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices

Manifest = dict[str, Any]
Reseal = Callable[..., None]
SIGNALS = {"top_score": SignalHistogram(bounds=[0.25, 0.5], counts=[10, 30, 20])}


@pytest.fixture(scope="session")
def full_checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    """An untrained checkpoint with three learners and every part that a model may have."""
    return make_checkpoint(learners=3, reranker_dim=24)


@pytest.fixture(scope="session")
def full_run(full_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with this checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("full") / "run", full_checkpoint).parent


@pytest.fixture(scope="session")
def full_indices(full_checkpoint: Checkpoint, build_indices: Callable[..., Indices]) -> Indices:
    """Both indices of this checkpoint, in half of the dimensions."""
    return build_indices(full_checkpoint, dim=24)


@pytest.fixture(scope="session")
def label_metadata(full_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> LabelMetadata:
    """Metadata of the checkpoint's labels: countries, a rank, and whether a label is active."""
    table = tmp_path_factory.mktemp("table") / "labels.jsonl"
    rows = (
        {"label": text, "country": ["DE", "AT", "CH"][: label % 4], "rank": label % 7, "active": label % 2 == 0}
        for label, text in enumerate(full_checkpoint.labels)
    )
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_label_metadata(table, full_checkpoint.labels).metadata


@pytest.fixture(scope="session")
def full_artifact(
    full_checkpoint: Checkpoint,
    full_indices: Indices,
    label_metadata: LabelMetadata,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The artifact of this checkpoint, its weights as they were learnt."""
    artifact = tmp_path_factory.mktemp("full") / "artifact"
    options = PackOptions(weights="float32", label_metadata=label_metadata, training_texts=True, signals=SIGNALS)
    pack(full_checkpoint, full_indices, artifact, "demo", options)
    return artifact


@pytest.fixture(scope="session")
def int8_artifact(
    full_checkpoint: Checkpoint,
    full_indices: Indices,
    label_metadata: LabelMetadata,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The artifact with quantized weights, which has every file that an artifact may have."""
    artifact = tmp_path_factory.mktemp("int8") / "artifact"
    options = PackOptions(weights="int8", label_metadata=label_metadata, training_texts=True, signals=SIGNALS)
    pack(full_checkpoint, full_indices, artifact, "demo", options)
    return artifact


@pytest.fixture
def artifact_copy(full_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact, for a test to damage."""
    return shutil.copytree(full_artifact, tmp_path / "copy")


@pytest.fixture
def int8_copy(int8_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the int8 artifact, for a test to damage."""
    return shutil.copytree(int8_artifact, tmp_path / "int8")


@pytest.fixture
def run_copy(full_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, for a test to damage."""
    return shutil.copytree(full_run, tmp_path / "run")


@pytest.fixture(scope="session")
def reseal() -> Reseal:
    """Update the hashes of a damaged artifact, so that the damage must be found in the content, not by the hashes."""

    def reseal_folder(folder: Path, edit: Callable[[Manifest], None] = lambda _: None) -> None:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        own = {MANIFEST_FILE, MANIFEST_CHECKSUM_FILE}
        manifest["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
            for path in sorted(folder.iterdir())
            if path.name not in own
        }
        edit(manifest)
        write_manifest(folder, json.dumps(manifest).encode())

    return reseal_folder


@pytest.fixture(scope="session")
def seal_manifest() -> Callable[[Path, bytes], None]:
    """Write any bytes as a manifest, with the matching checksum."""
    return write_manifest


def write_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    (folder / MANIFEST_CHECKSUM_FILE).write_text(f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n")


def put(path: Path, content: bytes, *, gz: bool = False) -> Path:
    """Write a file, gzipped or not; return its path."""
    path.write_bytes(gzip.compress(content) if gz else content)
    return path


@pytest.fixture(name="put", scope="session")
def put_fixture() -> Callable[..., Path]:
    """The function `put`."""
    return put
