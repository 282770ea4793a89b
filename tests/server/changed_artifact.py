"""Another artifact, made of one without training: with a version of its own, and labels that are written otherwise."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path


def change_artifact(artifact: Path, target: Path, version: str, rewrite: Callable[[bytes], bytes]) -> Path:
    """Copy an artifact to `target`; `rewrite` is given the texts of all labels, and returns as many bytes."""
    shutil.copytree(artifact, target)
    labels = rewrite((target / "labels.bin").read_bytes())
    (target / "labels.bin").write_bytes(labels)
    manifest = json.loads((target / "manifest.json").read_bytes())
    manifest["model"]["version"] = version
    manifest["files"]["labels.bin"]["sha256"] = hashlib.sha256(labels).hexdigest()
    content = json.dumps(manifest).encode()
    (target / "manifest.json").write_bytes(content)
    (target / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    return target
