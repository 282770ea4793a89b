"""Artifacts whose files are links, as Kubernetes and the cache of Hugging Face lay them out."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path


def put_in_volume(volume: Path, artifact: Path, moment: str) -> None:
    """Put an artifact into a volume as the kubelet does: `..data` is moved at once, and what it led to is deleted."""
    volume.mkdir(exist_ok=True)
    data, aside = volume / "..data", volume / "..data_tmp"
    former = data.readlink() if data.is_symlink() else None
    shutil.copytree(artifact, volume / f"..{moment}")
    aside.symlink_to(f"..{moment}")
    aside.replace(data)
    for file in artifact.iterdir():
        if not (volume / file.name).is_symlink():
            (volume / file.name).symlink_to(f"..data/{file.name}")
    if former is not None:
        shutil.rmtree(volume / former)


def put_in_cache(cache: Path, artifact: Path) -> Path:
    """Put an artifact into a cache as huggingface_hub does, each file by its hash; return the folder of its links."""
    blobs, snapshot = cache / "models--org--name" / "blobs", cache / "models--org--name" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in artifact.iterdir():
        digest = sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blobs / digest)
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    return snapshot
