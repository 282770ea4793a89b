"""Folders that are expensive to make (a trained run, an artifact): made once per test run, by one test process.

Under pytest-xdist every test process has session fixtures of its own. A lock file makes the first process that needs a
folder build it, while the others wait and then use the same folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock

FileStates = dict[str, list[int]]
"""Size in bytes and modification time in nanoseconds, by the path of the file within the folder."""


class SharedFolders:
    """Builds folders by name under a root that all test processes of one run share.

    Args:
        root: the folder that holds the shared folders, their locks and the records of their files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: set[str] = set()

    def get(self, name: str, build: Callable[[Path], object]) -> Path:
        """Return the shared folder `name`, building it first if no process has built it yet.

        `build` gets a path that does not exist and must create a folder there. The folder gets its final name only
        after `build` has returned, so that a half-built folder is never used. If `build` raises, its error is raised
        here, and the next process that needs the folder builds it again.
        """
        folder, record = self._root / name, self._record(name)
        self._root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._root / f"{name}.lock"):
            if not folder.exists():
                unfinished = self._root / f"{name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                build(unfinished)
                record.write_text(json.dumps(file_states(unfinished)))
                unfinished.rename(folder)
        self._used.add(name)
        return folder

    def modified(self) -> list[str]:
        """Return the files of the folders in use that were added, removed or written since their folder was built."""
        changed: set[str] = set()
        for name in self._used:
            built = _items(json.loads(self._record(name).read_text()))
            changed.update(f"{name}/{path}" for path, _ in built ^ _items(file_states(self._root / name)))
        return sorted(changed)

    def _record(self, name: str) -> Path:
        return self._root / f"{name}.files.json"


def file_states(folder: Path) -> FileStates:
    """Return the state of every file in the folder and its subfolders."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


def _items(states: FileStates) -> set[tuple[str, tuple[int, ...]]]:
    return {(path, tuple(state)) for path, state in states.items()}
