"""Vectors of another model in a .npy file, with a file of labels beside it."""

import gzip

import numpy as np
import pytest

from astec.export.readers import DataError, open_dataset, open_queries
from astec.export.readers.errors import BadLinesError

ROWS = np.array([[0.5, -1.0, 0.0], [2.0, 0.25, 1e-3]], np.float32)
LABELS = "shoes;red shoes\n boots ;;\n"


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "train.npy", ROWS)
    (tmp_path / "train_labels.txt").write_text(LABELS)
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_is_all_features_with_its_labels(folder, dtype):
    np.save(folder / "train.npy", ROWS.astype(dtype))
    dataset = open_dataset(folder, "train")
    assert (dataset.format_name, dataset.query_kind, dataset.num_features) == ("npy", "bag", 3)
    rows = list(dataset.rows())
    assert [row.labels for row in rows] == [("shoes", "red shoes"), ("boots",)]
    for row, expected in zip(rows, ROWS.astype(dtype).astype(np.float32), strict=True):
        assert row.query.ids.tolist() == [0, 1, 2]
        assert row.query.weights.dtype == np.float32
        assert np.array_equal(row.query.weights, expected)
    assert [len(query.ids) for query in open_queries(folder / "train.npy")] == [3, 3]


def test_labels_may_be_gzipped(folder):
    (folder / "train_labels.txt").unlink()
    (folder / "train_labels.txt.gz").write_bytes(gzip.compress(LABELS.encode()))
    assert [row.labels for row in open_dataset(folder / "train.npy", "test").rows()] == [
        ("shoes", "red shoes"),
        ("boots",),
    ]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((2, 3), np.int64), r"train\.npy: holds int64 \(2, 3\), not rows of floats"),
        (np.ones(3, np.float32), r"holds float32 \(3,\), not rows of floats"),
        (np.ones((0, 3), np.float32), r"holds float32 \(0, 3\), not rows of floats"),
        (np.asfortranarray(ROWS), "in the order of Fortran"),
        (np.array([["a"]]), "numpy.save"),
    ],
)
def test_other_arrays_are_refused(folder, array, words):
    np.save(folder / "train.npy", array)
    with pytest.raises(DataError, match=words):
        open_dataset(folder, "train")


def test_a_cut_file_is_refused(folder):
    whole = (folder / "train.npy").read_bytes()
    (folder / "train.npy").write_bytes(whole[:-4])
    with pytest.raises(DataError, match="and its header says"):
        open_dataset(folder, "train")


def test_labels_must_be_beside_it_and_as_many(folder):
    (folder / "train_labels.txt").write_text("shoes\n")
    with pytest.raises(DataError, match=r"train_labels\.txt:1: there are 1 lines of labels and 2 vectors"):
        list(open_dataset(folder, "train").rows(skip_bad_lines=True))
    (folder / "train_labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match="there are 3 lines of labels and 2 vectors"):
        list(open_dataset(folder, "train").rows(skip_bad_lines=True))
    (folder / "train_labels.txt").unlink()
    with pytest.raises(DataError, match=r"train_labels\.txt, the labels of its rows, is missing"):
        open_dataset(folder, "train")


def test_a_vector_that_is_not_finite_is_a_bad_line_and_counted_where_they_may_be_skipped(folder):
    np.save(folder / "train.npy", np.array([[1, 2, 3], [1, np.nan, 3]], np.float32))
    dataset = open_dataset(folder, "train")
    with pytest.raises(BadLinesError, match=r"train\.npy:2: the vector holds NaN"):
        list(dataset.rows())
    assert [row.labels for row in dataset.rows(skip_bad_lines=True)] == [("shoes", "red shoes")]
    assert dataset.bad_lines == 1
    with pytest.raises(DataError, match=r"train\.npy:2: the vector holds NaN"):
        list(open_queries(folder / "train.npy"))


def test_labels_that_are_not_utf8_are_a_bad_line(folder):
    (folder / "train_labels.txt").write_bytes(b"shoes\n\xff\n")
    with pytest.raises(BadLinesError, match=r"train_labels\.txt:2: byte 0xff"):
        list(open_dataset(folder, "train").rows())
