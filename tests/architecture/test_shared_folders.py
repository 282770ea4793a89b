"""Folders that test processes share: built once, whole, and unchanged."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.shared_folders import SharedFolders


def write(folder: Path) -> None:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "model").write_text("trained")


def test_a_folder_is_built_once_for_all_that_share_a_root(tmp_path: Path) -> None:
    builds: list[Path] = []
    together = threading.Barrier(3)

    def build(folder: Path) -> None:
        builds.append(folder)
        write(folder)

    def get() -> Path:
        together.wait()
        return SharedFolders(tmp_path).get("run", build)

    with ThreadPoolExecutor(3) as pool:
        folders = {future.result() for future in [pool.submit(get) for _ in range(3)]}
    assert folders == {tmp_path / "run"}
    assert len(builds) == 1
    assert (tmp_path / "run" / "inner" / "model").read_text() == "trained"


def test_a_build_that_fails_leaves_no_folder_and_the_next_one_starts_afresh(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        SharedFolders(tmp_path).get("run", fail)
    assert not (tmp_path / "run").exists()
    assert (SharedFolders(tmp_path).get("run", write) / "inner" / "model").exists()


def test_a_test_that_changes_a_shared_folder_is_noticed(tmp_path: Path) -> None:
    folders = SharedFolders(tmp_path)
    run = folders.get("run", write)
    assert folders.modified() == []
    (run / "inner" / "model").write_text("damaged")
    (run / "more").touch()
    assert folders.modified() == ["run/inner/model", "run/more"]
