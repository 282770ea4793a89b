"""The markers of the tests: what `make test-fast` leaves out, and that no other test starts a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.markers import FAST, MARKERS

ROOT = Path(__file__).parents[2]


def test_the_fast_tests_are_those_without_a_marker() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert tuple(marker.partition(":")[0] for marker in options["markers"]) == MARKERS
    assert f"\nFAST := {FAST}\n" in (ROOT / "Makefile").read_text()


def test_a_test_without_a_marker_starts_no_process() -> None:
    with pytest.raises(pytest.fail.Exception, match="mark it as one of slow, e2e, browser, gpu"):
        subprocess.run([sys.executable, "--version"], check=True)
    with pytest.raises(pytest.fail.Exception, match="mark it as one of slow, e2e, browser, gpu"):
        os.fork()


@pytest.mark.slow
def test_a_test_with_a_marker_may() -> None:
    subprocess.run([sys.executable, "--version"], check=True)
