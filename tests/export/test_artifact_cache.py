"""Artifacts at addresses are copied once, whole and verified; what cannot be is refused by its address and file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.artifact_cache import CACHE_VARIABLE, open_artifact_at
from tests.artifact_files import FILES

ADDRESS = "memory://bucket/model"
PATIENCE_S = 120.0
OPEN = """
import logging, sys
from astec.export.artifact_cache import open_artifact_at
logging.basicConfig(level=logging.INFO, format="%(message)s")
print(open_artifact_at(sys.argv[1]).path)
"""
KILLED_WHILE_COPYING = """
import os, signal, sys
from fsspec.implementations.local import LocalFileSystem
from astec.export.artifact_cache import open_artifact_at
copy = LocalFileSystem.get_file

def get_file(self, remote, local, **options):
    copy(self, remote, local, **options)
    if local.endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

LocalFileSystem.get_file = get_file
open_artifact_at(sys.argv[1])
"""


class Bucket(NamedTuple):
    """An artifact at `ADDRESS`, and the folder that copies of it lie in."""

    system: MemoryFileSystem
    copies: Path

    def path(self, name: str) -> str:
        return f"/bucket/model/{name}"

    def put(self, artifact: Path) -> None:
        for file in artifact.iterdir():
            self.system.pipe(self.path(file.name), file.read_bytes())

    def whole_copies(self) -> list[Path]:
        """The folders of the cache, of which readers take each for a whole artifact."""
        return [path for path in self.copies.glob("*") if path.is_dir() and not path.name.startswith(".")]

    def leftovers(self) -> list[Path]:
        return list(self.copies.glob(".*"))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "artifacts"


@pytest.fixture
def bucket(cache: Path, int8_artifact: Path) -> Iterator[Bucket]:
    system = fsspec.filesystem("memory")
    filled = Bucket(system, cache)
    filled.put(int8_artifact)
    yield filled
    system.rm("/", recursive=True)


def refusal() -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact_at(ADDRESS)
    return str(caught.value)


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_path_is_opened_where_it_is(cache: Path, int8_artifact: Path) -> None:
    assert open_artifact_at(int8_artifact).path == int8_artifact
    assert open_artifact_at(str(int8_artifact), "sizes").path == int8_artifact
    assert not cache.exists()


def test_an_artifact_at_an_address_is_copied_whole(bucket: Bucket, int8_artifact: Path) -> None:
    opened = open_artifact_at(ADDRESS)
    assert opened.path.parent == bucket.copies
    for file in int8_artifact.iterdir():
        assert (opened.path / file.name).read_bytes() == file.read_bytes()
    assert opened.manifest == open_artifact(int8_artifact).manifest
    assert bucket.leftovers() == []


def test_it_is_copied_once(bucket: Bucket) -> None:
    first = open_artifact_at(ADDRESS)
    bucket.system.rm(bucket.path(FILES.classifier))  # so that it could not be copied again
    assert open_artifact_at(ADDRESS).path == first.path


def test_another_version_at_the_same_address_has_a_folder_of_its_own(bucket: Bucket, full_artifact: Path) -> None:
    first = open_artifact_at(ADDRESS)
    bucket.system.rm("/bucket", recursive=True)
    bucket.put(full_artifact)
    second = open_artifact_at(ADDRESS)
    assert second.manifest == open_artifact(full_artifact).manifest != first.manifest
    assert sorted(bucket.whole_copies()) == sorted([first.path, second.path])


def test_an_address_of_files_here_is_copied_too(cache: Path, int8_artifact: Path) -> None:
    assert open_artifact_at(f"file://{int8_artifact}").path.parent == cache


def test_an_address_without_an_artifact_is_refused(bucket: Bucket) -> None:
    bucket.system.rm("/bucket", recursive=True)
    assert re.match(rf"{ADDRESS} is not an artifact: it has no {MANIFEST_FILE}\. Check the address", refusal())
    assert not bucket.copies.exists()


@pytest.mark.parametrize("name", [MANIFEST_FILE, MANIFEST_CHECKSUM_FILE, FILES.classifier])
def test_an_artifact_without_one_of_its_files_was_copied_in_part(bucket: Bucket, name: str) -> None:
    bucket.system.rm(bucket.path(name))
    said = refusal()
    assert ADDRESS in said
    assert name in said
    assert "copied in part. Copy the whole artifact there again" in said
    assert bucket.whole_copies() == bucket.leftovers() == []


def test_a_file_that_was_copied_in_part_is_refused_before_any_is_copied(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bucket.system.cat(bucket.path(FILES.classifier))
    bucket.system.pipe(bucket.path(FILES.classifier), content[:-1])
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *_: pytest.fail("a file was copied"))
    size = len(content)
    assert f"{ADDRESS}/{FILES.classifier} has {size - 1:,} bytes, not {size:,}: the artifact was copied in part" in (
        refusal()
    )
    assert bucket.whole_copies() == bucket.leftovers() == []


@pytest.mark.parametrize("name", [FILES.classifier, MANIFEST_FILE])
def test_a_file_with_another_content_is_refused(bucket: Bucket, name: str) -> None:
    content = bytearray(bucket.system.cat(bucket.path(name)))
    content[-1] ^= 1
    bucket.system.pipe(bucket.path(name), bytes(content))
    said = refusal()
    assert said.startswith(f"{ADDRESS} is damaged, or was replaced while it was copied: {name} ")
    assert "Copy the artifact again" in said
    assert bucket.whole_copies() == bucket.leftovers() == []
    content[-1] ^= 1
    bucket.system.pipe(bucket.path(name), bytes(content))
    assert open_artifact_at(ADDRESS).path in bucket.whole_copies()


def test_a_machine_without_room_is_named_with_the_bytes_before_any_is_copied(
    bucket: Bucket, int8_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(bucket.copies.parents[1])._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *_: pytest.fail("a file was copied"))
    needed = sum(
        record["bytes"] for record in json.loads((int8_artifact / MANIFEST_FILE).read_text())["files"].values()
    )
    said = refusal()
    assert said.startswith(f"{ADDRESS} does not fit into {bucket.copies} of {os.uname().nodename}: ")
    assert f"it takes {needed:,} bytes, and 1,000 are free. " in said
    assert f"set {CACHE_VARIABLE} to a folder on a larger disk" in said
    assert bucket.whole_copies() == bucket.leftovers() == []


def test_a_disk_that_fills_up_meanwhile_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_up(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MemoryFileSystem, "get_file", fill_up)
    assert f"{ADDRESS} does not fit into {bucket.copies} of {os.uname().nodename}: the disk is full" in refusal()
    assert bucket.whole_copies() == bucket.leftovers() == []


def test_an_address_that_may_not_be_read_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "get_file", deny)
    assert re.match(rf"{ADDRESS} cannot be copied to .*Access Denied.*Check the address and its permissions", refusal())
    monkeypatch.setattr(MemoryFileSystem, "_open", deny)
    assert f"{ADDRESS}/{MANIFEST_FILE} cannot be read: [Errno 13] Access Denied. Check the address" in refusal()


def test_a_cache_that_cannot_be_made_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert re.match(rf"{ADDRESS} cannot be copied to {tmp_path}/file/artifacts .*set {CACHE_VARIABLE}", refusal())


def test_a_user_without_a_home_is_asked_for_a_folder(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert f"Set {CACHE_VARIABLE} to a folder" in refusal()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense://bucket/model", "nonsense://bucket/model.*is no address that fsspec knows"),
        ("gs://bucket/model", r"gs:// cannot be read .*pip install 'astec\[gs\]'"),
    ],
)
def test_an_address_that_nothing_here_reads_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ArtifactError, match=said):
        open_artifact_at(address)


@pytest.mark.e2e
def test_of_several_processes_one_copies_and_the_others_wait(cache: Path, int8_artifact: Path) -> None:
    processes = [start(OPEN, f"file://{int8_artifact}") for _ in range(4)]
    outputs = [process.communicate(timeout=PATIENCE_S) for process in processes]
    assert {process.returncode for process in processes} == {0}
    assert sum(stderr.count(f"copying file://{int8_artifact}") for _, stderr in outputs) == 1
    (copy,) = cache.glob("[!.]*[!k]")
    assert {stdout.strip() for stdout, _ in outputs} == {str(copy)}


@pytest.mark.e2e
def test_what_a_killed_process_leaves_is_never_taken_for_whole(bucket: Bucket, int8_artifact: Path) -> None:
    address = f"file://{int8_artifact}"
    process = start(KILLED_WHILE_COPYING, address, FILES.classifier)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGKILL
    assert bucket.whole_copies() == []
    assert len(bucket.leftovers()) == 1
    assert open_artifact_at(address).path in bucket.whole_copies()
    assert bucket.leftovers() == []
