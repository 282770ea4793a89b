import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from astec.server.system import prefault as module
from astec.server.system.prefault import prefault

SIZE = 16 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "an artifact"  # with a space, as a path may have
    folder.mkdir()
    (folder / "weights").write_bytes(os.urandom(SIZE))
    (tmp_path / "beside").write_bytes(bytes(mmap.PAGESIZE))
    return folder


def resident_bytes(path: Path) -> int:
    """Return the bytes of a file that are in the page tables of this process."""
    resident, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1]) << 10
    return resident


def test_every_page_of_a_mapped_file_is_mapped_afterwards(folder: Path, tmp_path: Path) -> None:
    weights = np.memmap(folder / "weights", np.uint8, mode="r")
    beside = np.memmap(tmp_path / "beside", np.uint8, mode="r")
    assert resident_bytes(folder / "weights") < SIZE
    assert prefault(folder) == SIZE
    assert resident_bytes(folder / "weights") == SIZE == len(weights)
    assert resident_bytes(tmp_path / "beside") == 0 < len(beside)


def test_a_kernel_that_cannot_fill_page_tables_reads_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MADV_POPULATE_READ", 9999)
    weights = np.memmap(folder / "weights", np.uint8, mode="r")
    assert prefault(folder) == SIZE == len(weights)
    assert resident_bytes(folder / "weights") < SIZE


def test_a_folder_through_a_link_is_the_same_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder)
    weights = np.memmap(tmp_path / "current" / "weights", np.uint8, mode="r")
    assert prefault(tmp_path / "current") == SIZE == len(weights)


def test_a_file_that_a_link_in_the_folder_leads_to_is_read_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "weights.npy").symlink_to(folder / "weights")
    weights = np.memmap(tmp_path / "links" / "weights.npy", np.uint8, mode="r")
    assert prefault(tmp_path / "links") == SIZE == len(weights)


def test_a_file_that_was_cut_off_since_is_named(folder: Path) -> None:
    weights = np.memmap(folder / "weights", np.uint8, mode="r")
    os.truncate(folder / "weights", mmap.PAGESIZE)
    with pytest.raises(OSError, match="weights"):
        prefault(folder)
    assert len(weights) == SIZE
