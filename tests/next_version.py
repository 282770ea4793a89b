"""An artifact whose answers show that they are not those of another one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path


def write_next_version(source: Path, target: Path) -> Path:
    """Copy an artifact as version "next", with labels in capitals, so that an answer shows its artifact."""
    artifact = shutil.copytree(source, target)
    labels = (artifact / "labels.bin").read_bytes().upper()
    (artifact / "labels.bin").write_bytes(labels)
    manifest = json.loads((artifact / "manifest.json").read_bytes())
    manifest["model"]["version"] = "next"
    manifest["files"]["labels.bin"]["sha256"] = hashlib.sha256(labels).hexdigest()
    content = json.dumps(manifest).encode()
    (artifact / "manifest.json").write_bytes(content)
    (artifact / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    return artifact
