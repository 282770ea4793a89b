"""Texts by id, packed into one blob."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.labels.text_table import TextTable

TEXTS = ["", "shoes", "", "Größe 🎉", "日本", ""]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(texts=st.lists(st.text(max_size=10), max_size=10))
def test_round_trip(texts: list[str]) -> None:
    table = TextTable.from_texts(texts)
    with TemporaryDirectory() as folder:
        table.save(Path(folder), "labels")
        opened = TextTable.open(Path(folder), "labels")
        assert list(opened) == [opened[i] for i in range(len(opened))] == texts
        assert opened == table
        assert opened.sha256() == table.sha256()


@pytest.mark.parametrize("chosen", [slice(1, 4), slice(None, None, -1), slice(-2, None), slice(4, 1), slice(0, 99, 2)])
def test_slices_are_those_of_a_list(chosen: slice) -> None:
    assert TextTable.from_texts(TEXTS)[chosen] == TEXTS[chosen]


@pytest.mark.parametrize("index", [-1, len(TEXTS)])
def test_an_index_out_of_range_is_named(index: int) -> None:
    with pytest.raises(IndexError, match=f"text {index} of {len(TEXTS)}"):
        TextTable.from_texts(TEXTS)[index]


def test_identity_is_texts_and_borders() -> None:
    table, other = TextTable.from_texts(["ab", "c"]), TextTable.from_texts(["a", "bc"])
    assert table != other
    assert table.sha256() != other.sha256()
    assert hash(table) == hash(TextTable.from_texts(["ab", "c"]))
    assert table != ["ab", "c"]


@pytest.mark.parametrize(
    ("offsets", "problem"),
    [
        (np.array([0, 2, 2], np.int64), "does not partition the 3 bytes of labels.bin"),
        (np.array([0, 4], np.int64), "does not partition"),
        (np.array([1, 3], np.int64), "does not partition"),
        (np.array([0, 3, 2, 3], np.int64), "does not partition"),
        (np.array([0, 3], np.int32), "must be int64"),
        (np.array([[0, 3]], np.int64), "must be int64"),
        (np.array([], np.int64), "must be int64"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(tmp_path: Path, offsets: np.ndarray, problem: str) -> None:
    TextTable.from_texts(["a", "bc"]).save(tmp_path, "labels")
    np.save(tmp_path / "labels.offsets.npy", offsets)
    with pytest.raises(ValueError, match=problem) as refusal:
        TextTable.open(tmp_path, "labels")
    assert "labels.offsets.npy" in str(refusal.value)


def test_pickled_offsets_are_refused(tmp_path: Path) -> None:
    TextTable.from_texts(["a"]).save(tmp_path, "labels")
    np.save(tmp_path / "labels.offsets.npy", np.array([0, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        TextTable.open(tmp_path, "labels")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    TextTable.from_texts(["a", "bc"]).save(tmp_path, "labels")
    (tmp_path / "labels.bin").write_bytes(b"a\xffc")
    with pytest.raises(ValueError, match=r"labels\.bin is not UTF-8: .*0xff in position 1"):
        TextTable.open(tmp_path, "labels")


def test_offsets_inside_a_character_are_refused(tmp_path: Path) -> None:
    TextTable.from_texts(["ü", "", "a"]).save(tmp_path, "labels")
    np.save(tmp_path / "labels.offsets.npy", np.array([0, 1, 1, 3], np.int64))
    with pytest.raises(ValueError, match=r"labels\.offsets\.npy parts a character of labels\.bin"):
        TextTable.open(tmp_path, "labels")


def test_rows_are_taken_in_their_order() -> None:
    rows = np.array([3, 0, 4, 3])
    assert list(TextTable.from_texts(TEXTS).take(rows)) == [TEXTS[row] for row in rows]
    assert list(TextTable.from_texts(TEXTS).take(rows[:0])) == []


def test_tables_are_joined() -> None:
    tables = [TextTable.from_texts(texts) for texts in ([], TEXTS, ["cat"])]
    assert TextTable.joined(tables) == TextTable.from_texts([*TEXTS, "cat"])
