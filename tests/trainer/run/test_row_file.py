"""Files of rows: written in blocks, read as a memory map."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.trainer.run.row_file import open_rows, write_rows


def rows(first: int, count: int) -> NDArray[np.int32]:
    return np.arange(3 * first, 3 * (first + count), dtype=np.int32).reshape(count, 3)


def test_blocks_are_read_back_as_one_array(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_rows(path, (5, 3), [rows(0, 2), rows(2, 0), rows(2, 3)])
    read = open_rows(path)
    assert isinstance(read, np.memmap)
    assert read.tolist() == rows(0, 5).tolist()
    read[0, 0] = 9
    assert open_rows(path)[0, 0] == 0, "the file stays as it is"


@pytest.mark.parametrize("blocks", [[rows(0, 2)], [rows(0, 2), rows(2, 4)]])
def test_another_number_of_rows_than_announced_leaves_no_file(blocks: list[NDArray[np.int32]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows came for a\.npy, which should have 5"):
        write_rows(tmp_path / "a.npy", (5, 3), blocks)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_rows(path, (5, 3), [rows(0, 5)])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"mmap length is greater than file ?size"):
        open_rows(path)
