"""Pytest plugin of the markers `slow`, `e2e`, `browser` and `gpu`, which `make test-fast` leaves out.

A marker comes from the folder of the test, from a fixture that needs a trained model, or from the test file. A test
without any of them must not start a process: this plugin makes the attempt an error. It skips the tests marked `gpu` on
a machine without a GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Never

import pytest

MARKERS = ("slow", "e2e", "browser", "gpu")
FAST = " and ".join(f"not {marker}" for marker in MARKERS)
"""The value of pytest's option `-m` that selects the fast tests; the same text is in the Makefile."""
MARKER_OF_FOLDER = {"playground": "browser", "e2e": "e2e"}
SLOW_FIXTURES = {"demo_run"}
"""Fixtures that train; a fixture that needs one of them is slow, too."""

_TESTS = Path(__file__).parent
_MARKED_FILE = re.compile(rf"^pytestmark = \[?pytest\.mark\.({'|'.join(MARKERS)})\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files in which every test has a marker, when only tests without are wanted: it takes long."""
    if config.option.markexpr != FAST or not collection_path.is_relative_to(_TESTS):
        return None
    if collection_path.is_dir():
        return True if _marker_of_folder(collection_path) else None
    return True if collection_path.suffix == ".py" and _MARKED_FILE.search(collection_path.read_text()) else None


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder and by the fixtures that they need."""
    for item in items:
        if marker := _marker_of_folder(item.path.parent):
            item.add_marker(marker)
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="this machine has no GPU"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test without a marker, and its fixtures, start no process."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(item.get_closest_marker(marker) for marker in MARKERS):
            patch.setattr(subprocess.Popen, "__init__", _refuse_process)
            patch.setattr(os, "fork", _refuse_process)
        return (yield)


@cache
def _has_gpu() -> bool:
    import torch  # takes seconds to load, and few files have such tests

    return torch.cuda.is_available()


def _refuse_process(*_arguments: object, **_options: object) -> Never:
    pytest.fail(f"a test without a marker started a process: mark it as one of {', '.join(MARKERS)}")


def _marker_of_folder(folder: Path) -> str | None:
    parts = folder.relative_to(_TESTS).parts
    return MARKER_OF_FOLDER.get(parts[0]) if parts else None
