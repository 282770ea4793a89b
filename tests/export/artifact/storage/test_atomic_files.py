"""Files and folders are written whole or not at all, also after an exception or a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from astec.export.artifact.storage.atomic_files import (
    open_atomically,
    sha256_of,
    write_file_atomically,
    write_folder_atomically,
)

KILLED_WITHIN = """
import os, signal, sys
from pathlib import Path
from astec.export.artifact.storage.atomic_files import write_folder_atomically
with write_folder_atomically(Path(sys.argv[1])) as folder:
    (folder / "weights").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_appears_whole_and_readable(tmp_path: Path) -> None:
    target = tmp_path / "new" / "artifact"
    with write_folder_atomically(target) as folder:
        (folder / "weights").write_bytes(b"all")
        assert not target.exists()
    assert (target / "weights").read_bytes() == b"all"
    assert [path.name for path in target.parent.iterdir()] == ["artifact"]
    # Made private by mkdtemp, served by another user.
    assert target.stat().st_mode & 0o777 == 0o755
    assert (target / "weights").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_no_folder(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half() -> None:
        with write_folder_atomically(tmp_path / "artifact") as folder:
            (folder / "weights").write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    killed = subprocess.run([sys.executable, "-c", KILLED_WITHIN, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    # The next attempt is not in the way of what the last one left.
    with write_folder_atomically(target) as folder:
        (folder / "weights").write_bytes(b"all")
    assert (target / "weights").read_bytes() == b"all"


def test_an_existing_target_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "dangling"):
        refused = pytest.raises(FileExistsError, match=f"{name} exists already; choose another path")
        with refused, write_folder_atomically(tmp_path / name):
            pytest.fail("the block ran")


def test_a_target_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "artifact"

    def write_late() -> None:
        with write_folder_atomically(target):
            target.mkdir()
            (target / "weights").write_bytes(b"of another")

    with pytest.raises(OSError, match="artifact"):
        write_late()
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
    assert (target / "weights").read_bytes() == b"of another"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_file_atomically(target, b"old")
    write_file_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o644


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_file_atomically(target, b"old")

    def write_half() -> None:
        with open_atomically(target) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_sha256_of_a_file(tmp_path: Path) -> None:
    content = b"weights" * 100_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == sha256(content).hexdigest()
