from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from export.checkpoint import Checkpoint, read_checkpoint

Manifest = dict[str, Any]
Reseal = Callable[..., None]


@pytest.fixture
def artifact_copy(demo_artifact: Path, tmp_path: Path) -> Path:
    """The demo artifact, to be damaged."""
    return shutil.copytree(demo_artifact, tmp_path / "copy")


@pytest.fixture
def run_copy(demo_run: Path, tmp_path: Path) -> Path:
    """The demo run, to be damaged."""
    return shutil.copytree(demo_run, tmp_path / "run")


@pytest.fixture(scope="session")
def demo_checkpoint(demo_run: Path) -> Checkpoint:
    """The demo run's checkpoint, read back."""
    return read_checkpoint(demo_run)


@pytest.fixture(scope="session")
def reseal() -> Reseal:
    """Makes a damaged artifact's hashes right again: what is wrong must then be found by looking, not by hashing."""

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
    """Writes a manifest of any bytes with the checksum that fits them."""
    return write_manifest


def write_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    (folder / MANIFEST_CHECKSUM_FILE).write_text(f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n")
