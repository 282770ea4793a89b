"""The file of arrays that is written block by block and mapped."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from astec.trainer.parallel import world
from astec.trainer.parallel.world import ALONE, SplitRows
from astec.trainer.run.array_file import map_arrays, write_arrays

KINDS = st.sampled_from(["?", "u1", "i1", "i4", "i8", "f2", "f4", "f8"])
SOME_ARRAYS = st.dictionaries(
    st.text("ab.", max_size=3), arrays_of.arrays(KINDS, arrays_of.array_shapes(min_dims=0, min_side=0)), max_size=4
)


@given(SOME_ARRAYS)
@settings(derandomize=True, deadline=None)
def test_arrays_are_read_as_they_were_written_and_by_safetensors_too(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, NDArray[Any]]
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "x.safetensors"
    write_arrays(path, arrays)
    for found in (map_arrays(path), load_file(path)):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()
    save_file(arrays, path)
    assert {name: array.tobytes() for name, array in map_arrays(path).items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_split_rows_are_written_as_the_whole_array_and_filled_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "BLOCK_BYTES", 100)
    whole = torch.arange(303, dtype=torch.float32).reshape(101, 3)
    write_arrays(tmp_path / "x", {"odd": np.arange(3, dtype=np.int8), "rows": SplitRows(whole, 101, ALONE)})
    mapped = map_arrays(tmp_path / "x")
    assert np.array_equal(mapped["rows"], whole)
    again = torch.zeros(101, 3)
    SplitRows(again, 101, ALONE).fill(mapped["rows"])
    assert torch.equal(again, whole)


def test_arrays_are_aligned_and_changes_do_not_reach_the_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x", {"odd": np.zeros(3, np.int8), "rows": np.zeros((5, 16), np.float32)})
    mapped = map_arrays(tmp_path / "x")
    assert mapped["rows"].ctypes.data % 64 == 0
    mapped["rows"][:] = 1
    assert not map_arrays(tmp_path / "x")["rows"].any()


@pytest.mark.parametrize("kept", [-1, 3, 0])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x"
    write_arrays(path, {"rows": np.zeros(100, np.float32)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SafetensorError):
        map_arrays(path)


def test_a_full_disk_keeps_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_arrays(path, {"rows": np.ones(2, np.float32)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_arrays(path, {"rows": np.ones(200, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert map_arrays(path)["rows"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [path]
