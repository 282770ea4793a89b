"""Tests lie in the folders of what they test."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("astec", "deploy", "docs", "export", "loadtest", "server", "trainer")
WHOLE_PRODUCT = {"architecture", "containers", "e2e", "parity", "playground"}
FOLDERS = sorted({path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").glob("*/**/*.py")})


def test_every_folder_of_tests_is_that_of_a_part_or_of_the_whole_product() -> None:
    assert {folder.parts[0] for folder in FOLDERS} == {*PARTS} | WHOLE_PRODUCT


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.parts[0] in PARTS], ids=str)
def test_a_folder_of_tests_has_a_folder_of_code(folder: Path) -> None:
    assert (ROOT / folder).is_dir() or (ROOT / "src" / folder).is_dir(), (
        f"tests/{folder} tests nothing: there is no folder {folder}"
    )
