"""Artifacts at addresses such as `s3://bucket/model`: copied once to a folder of this machine, then mapped from there.

A copy is verified by the hashes of its manifest before it gets its name, which is the hash of that manifest. So a
folder with such a name is whole, and each version of a model has its own, also if all were copied to one address.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from os import PathLike
from pathlib import Path
from socket import gethostname
from typing import Final

from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.storage.atomic_files import remove_leftovers, write_folder_atomically
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import MAX_MANIFEST_BYTES, ArtifactError, Verification, read_manifest
from astec.export.readers.errors import DataError
from astec.export.readers.places.remote_path import RemotePath, data_path

CACHE_VARIABLE: Final = "ASTEC_CACHE"
"""The environment variable that names the folder to use in place of `~/.cache/astec`."""
_FILES_AT_A_TIME: Final = 8
_COPY_AGAIN: Final = "Copy the whole artifact there again"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


def open_artifact_at(
    place: str | PathLike[str], verify: Verification = "hashes", allow_links_under: Path | None = None
) -> Artifact:
    """Verify and map the artifact at a path, or at an address, which is copied to this machine first.

    Args:
        place: a folder, or an address that fsspec knows.
        verify: as for `open_artifact`, for a folder. The hashes of a copy were verified when it was made, and from then
            on only names and sizes are compared.
        allow_links_under: as for `open_artifact`, for a folder; a copy has no links.

    Raises:
        ArtifactError: there is no artifact, it is damaged or only a part of one, or this machine has no room for it.
    """
    path = data_path(os.fspath(place))
    if isinstance(path, RemotePath):
        return open_artifact(copied_artifact(path), "sizes")
    return open_artifact(path, verify, allow_links_under)


def copied_artifact(address: RemotePath) -> Path:
    """Return the folder of this machine with the artifact at an address; copy and verify it if it is not there yet.

    Processes that need the same artifact at the same time wait for the one that copies it.

    Raises:
        ArtifactError: there is no artifact, it is damaged or only a part of one, or this machine has no room for it.
            The message names the address, the file and the remedy.
    """
    content, checksum = (_read_small(address, name) for name in (MANIFEST_FILE, MANIFEST_CHECKSUM_FILE))
    target = _cache_folder() / sha256(content).hexdigest()
    if target.is_dir():
        return target
    with _naming(address, target.parent), _locked(target):
        if not target.is_dir():  # Another process may have made it meanwhile.
            remove_leftovers(target)
            with write_folder_atomically(target) as folder:
                (folder / MANIFEST_FILE).write_bytes(content)
                (folder / MANIFEST_CHECKSUM_FILE).write_bytes(checksum)
                _fill(folder, address)
    return target


def _fill(folder: Path, address: RemotePath) -> None:
    """Copy what the manifest in a folder lists into that folder, and verify the whole.

    Raises:
        ArtifactError: a file is missing or not the one of the manifest, or there is no room for all.
    """
    try:
        manifest = read_manifest(folder)
        names = list(manifest.files)
        with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
            sizes = pool.map(lambda name: _size(address / name), names)
            for name, size in zip(names, sizes, strict=True):  # before gigabytes are copied in vain
                if size != (expected := manifest.files[name].bytes):
                    found = "is missing" if size is None else f"has {size:,} bytes, not {expected:,}"
                    raise ArtifactError(f"{address / name} {found}: the artifact was copied in part. {_COPY_AGAIN}")
            needed, free = sum(record.bytes for record in manifest.files.values()), shutil.disk_usage(folder).free
            if needed > free:
                raise _no_room(address, folder.parent, f"it takes {needed:,} bytes, and {free:,} are free")
            logger.info("copying %s, %d MB, to %s", address, needed // 1_000_000, folder.parent)
            list(pool.map(lambda name: (address / name).copy_to(folder / name), names))
        open_artifact(folder)
    except ArtifactError as error:
        if str(address) in str(error):
            raise
        raise ArtifactError(f"{address} is damaged, or was replaced while it was copied: {error}") from error


def _read_small(address: RemotePath, name: str) -> bytes:
    """Return the content of the manifest or of its checksum."""
    try:
        with (address / name).open() as stream:
            content: bytes = stream.read(MAX_MANIFEST_BYTES + 1)  # Larger ones are refused.
            return content
    except FileNotFoundError:
        raise ArtifactError(
            f"{address} is not an artifact: it has no {name}. Check the address; if it has other files of an artifact, "
            f"they were copied in part. {_COPY_AGAIN}"
        ) from None
    except DataError as error:  # What reads such an address is not installed.
        raise ArtifactError(str(error)) from error
    except OSError as error:
        raise _unreadable(address / name, error) from error


def _size(file: RemotePath) -> int | None:
    """Return the bytes of a file at an address; None if it is not there."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(file, error) from error


def _cache_folder() -> Path:
    """Return the folder of the copies.

    Raises:
        ArtifactError: this user has no home, and no other folder is named.
    """
    cache = os.environ.get(CACHE_VARIABLE) or os.path.expanduser("~/.cache/astec")  # noqa: PTH111
    if cache.startswith("~"):
        raise ArtifactError(f"this user has no home for copies of artifacts. Set {CACHE_VARIABLE} to a folder for them")
    return Path(cache).absolute() / "artifacts"


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process of the machine at a time make the folder `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target.with_name(f"{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _naming(address: RemotePath, folder: Path) -> Iterator[None]:
    """Turn errors of reading an address and of writing to a folder into ArtifactError that names both."""
    try:
        yield
    except DataError as error:
        raise ArtifactError(str(error)) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(address, folder, "the disk is full") from error
        raise ArtifactError(
            f"{address} cannot be copied to {folder} of {gethostname()}: {error}. Check the address and its "
            f"permissions, and that the folder can be written to, or set {CACHE_VARIABLE} to another"
        ) from error


def _no_room(address: RemotePath, folder: Path, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{address} does not fit into {folder} of {gethostname()}: {problem}. Remove artifacts there that are not "
        f"used any more, or set {CACHE_VARIABLE} to a folder on a larger disk"
    )


def _unreadable(file: RemotePath, error: OSError) -> ArtifactError:
    return ArtifactError(f"{file} cannot be read: {error}. Check the address and the permission to read it")
