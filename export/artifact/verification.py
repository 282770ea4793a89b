"""Comparing the files of an artifact with its manifest, before anything in them is used."""

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from astec.export.artifact.manifest import FORMAT_VERSION, MANIFEST_CHECKSUM_FILE, MANIFEST_FILE, Manifest
from astec.export.artifact.storage.atomic_files import sha256_of
from astec.export.artifact.storage.links import AllowedLinks, LinkError

logger = logging.getLogger(__name__)

Verification = Literal["hashes", "sizes"]
"""The extent of the comparison of an artifact's files with its manifest: every byte, or names and sizes only."""

REEXPORT = "Copy the artifact again, or export the run again"
"""The remedy for a damaged artifact, the last sentence of most errors."""

NO_LINKS = (
    "Copy the artifact with its links followed (cp -rL), or name a folder that holds the artifact and all that its "
    "links lead to, with --allow-links-under"
)
"""The remedy for a link that is not followed."""

MAX_MANIFEST_BYTES = 4 << 20
_MAX_QUOTED_CHARS = 100  # of the manifest, in an error


class ArtifactError(Exception):
    """An artifact that cannot be trusted or read; the message names the file and the remedy."""


def allowed_links(folder: Path | None) -> AllowedLinks | None:
    """Return the folder inside which links may be followed; None: no link is.

    Raises:
        ArtifactError: it is no folder.
    """
    try:
        return None if folder is None else AllowedLinks(folder)
    except LinkError as error:
        raise ArtifactError(f"{error}. {NO_LINKS}") from error


def artifact_folder(path: Path, links: AllowedLinks | None = None) -> Path:
    """Return the folder in which the files of the artifact at `path` lie, without a link in its path.

    Kubernetes makes each file of a volume a link into a folder `..data`, which is a link itself, and is moved when the
    volume changes. The folder that `..data` leads to now is returned then, so that all files are of one artifact,
    whatever is moved later.

    Raises:
        ArtifactError: the manifest is a link that must not be followed.
    """
    folder = Path(os.path.realpath(path))
    if links is None or not (folder / MANIFEST_FILE).is_symlink():
        return folder
    manifest_path = follow_link(folder, MANIFEST_FILE, links)
    return manifest_path.parent if manifest_path.name == MANIFEST_FILE else folder


def follow_link(folder: Path, name: str, links: AllowedLinks | None) -> Path:
    """Return the file that the link `name` in an artifact's folder leads to.

    Raises:
        ArtifactError: no links are allowed, or this one leads to a place where none may lead to.
    """
    if links is None:
        target = (folder / name).readlink()
        raise ArtifactError(f"{name} in {folder} is a link to {target}, and links are not followed. {NO_LINKS}")
    try:
        return links.follow(folder / name)
    except LinkError as error:
        raise ArtifactError(f"{error} (in the artifact {folder}). {NO_LINKS}") from error


def read_manifest(path: Path, links: AllowedLinks | None = None) -> Manifest:
    """Read the manifest of the artifact at `path` and verify its checksum.

    Args:
        path: the folder of the artifact.
        links: where links may lead to; None: a link is refused.

    Raises:
        ArtifactError: there is no artifact, the manifest is damaged, or its format version is unknown.
    """
    manifest_path, checksum_path = path / MANIFEST_FILE, path / MANIFEST_CHECKSUM_FILE
    for required in (manifest_path, checksum_path):
        if required.is_symlink():
            follow_link(path, required.name, links)
        if not required.is_file():
            raise ArtifactError(
                f"{path} is not an artifact: it has no {required.name}. Export a run with astec-export RUN ARTIFACT"
            )
        if required.stat().st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{required} is larger than {MAX_MANIFEST_BYTES} bytes. {REEXPORT}")
    content = manifest_path.read_bytes()
    if checksum_path.read_bytes() != checksum_line(content):
        raise ArtifactError(f"{MANIFEST_FILE} does not match {MANIFEST_CHECKSUM_FILE} in {path}. {REEXPORT}")
    try:
        fields: Any = json.loads(content, object_pairs_hook=_distinct_keys)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{manifest_path} is not JSON: {error}. {REEXPORT}") from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{manifest_path} has format version {_quoted(version)}; this program reads version {FORMAT_VERSION}. "
            "Export the run again with this version of astec, or serve it with the version that exported it"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])[:_MAX_QUOTED_CHARS]
        where = f"{manifest_path}: field {field}" if field else str(manifest_path)
        raise ArtifactError(f"{where}: {first['msg']}. {REEXPORT}") from error


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, and refuse one with two equal keys, of which programs may read either."""
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise ArtifactError(f"{MANIFEST_FILE} has the key {_quoted(key)} twice in one object. {REEXPORT}")
        fields[key] = value
    return fields


def _quoted(value: object) -> str:
    return repr(value)[:_MAX_QUOTED_CHARS]


def verify_files(
    path: Path, manifest: Manifest, verify: Verification = "hashes", links: AllowedLinks | None = None
) -> None:
    """Compare the folder with the manifest: names, kinds and sizes, then hashes on all CPUs unless `verify` is "sizes".

    Args:
        path: the folder of the artifact.
        manifest: what `read_manifest` has read there.
        verify: the extent of the comparison.
        links: where links may lead to; None: a link is refused.

    Raises:
        ArtifactError: a file differs; the message names the first one.
    """
    begun_s = time.perf_counter()
    expected = set(manifest.files) | {MANIFEST_FILE, MANIFEST_CHECKSUM_FILE}
    found = {entry.name: entry for entry in os.scandir(path)}
    for name in sorted(expected - found.keys()):
        raise ArtifactError(f"{name} is missing from {path}. {REEXPORT}")
    for name in sorted(found.keys() - expected):
        raise ArtifactError(f"{name} in {path} is not listed in {MANIFEST_FILE}. Remove it, or export the run again")
    for name, record in manifest.files.items():
        if found[name].is_symlink():
            follow_link(path, name, links)
        if not found[name].is_file():
            raise ArtifactError(f"{name} in {path} is no plain file. {REEXPORT}")
        if (size := found[name].stat().st_size) != record.bytes:
            raise ArtifactError(f"{name} in {path} has {size} bytes, not {record.bytes}. {REEXPORT}")
    if verify == "hashes":
        _verify_hashes(path, manifest)
    megabytes = sum(record.bytes for record in manifest.files.values()) / 1e6
    logger.info("verified %s of %.0f MB in %.2f s", verify, megabytes, time.perf_counter() - begun_s)


def _verify_hashes(path: Path, manifest: Manifest) -> None:
    # Begin with the largest files: a large one begun last would leave the other CPUs without work.
    names = sorted(manifest.files, key=lambda name: manifest.files[name].bytes, reverse=True)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        digests = dict(zip(names, pool.map(sha256_of, (path / name for name in names)), strict=True))
    for name, record in manifest.files.items():
        if digests[name] != record.sha256:
            raise ArtifactError(f"{name} in {path} does not have the hash in {MANIFEST_FILE}. {REEXPORT}")


def checksum_line(content: bytes) -> bytes:
    """Return the line that `sha256sum manifest.json` prints, so that the checksum can be verified by hand."""
    return f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n".encode()
