"""Every format, plain and gzipped, gives the rows that were written; it is detected by content, not by name."""

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bag
from astec.export.readers import open_dataset, open_queries

TEXT_ROWS = [
    ("red shoes", ["shoes", "red-shoes"]),
    ("crème brûlée 🍮", ["dessert"]),
    ("walking boots", ["boots", "shoes", "outdoor"]),
]
SPARSE_ROWS = [({3: 0.5, 17: 1.25}, [4, 2]), ({0: 1e-3}, [19]), ({49: 2.0, 1: 3.0}, [])]
TEXT_FORMATS = ["jsonl", "tsv", "fasttext"]
SPARSE_FORMATS = ["xc-old", "xc-new"]

deterministic = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def text_rows(dataset):
    return [(row.query, list(row.labels)) for row in dataset.rows()]


def sparse_rows(dataset):
    rows = []
    for row in dataset.rows():
        assert isinstance(row.query, Bag)
        assert row.query.ids.dtype == np.int32
        assert row.query.weights.dtype == np.float32
        rows.append((dict(zip(row.query.ids.tolist(), row.query.weights.tolist(), strict=True)), row.labels))
    return rows


def as_float32(rows):
    return [({i: float(np.float32(v)) for i, v in f.items()}, tuple(map(str, labels))) for f, labels in rows]


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("format_name", TEXT_FORMATS)
def test_text_formats(tmp_path, put_rows, format_name, gz):
    dataset = open_dataset(put_rows(tmp_path, format_name, TEXT_ROWS, gz=gz), "train")
    assert (dataset.format_name, dataset.query_kind, dataset.num_features) == (format_name, "text", None)
    assert text_rows(dataset) == TEXT_ROWS
    assert text_rows(dataset) == TEXT_ROWS, "a second pass gives the same rows"


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("format_name", SPARSE_FORMATS)
def test_sparse_formats(tmp_path, put_rows, format_name, gz):
    dataset = open_dataset(put_rows(tmp_path, format_name, SPARSE_ROWS, gz=gz), "train")
    assert (dataset.format_name, dataset.query_kind, dataset.num_features) == (format_name, "bag", 50)
    assert (dataset.feature_names, dataset.label_names) == (None, None)
    assert sparse_rows(dataset) == as_float32(SPARSE_ROWS)
    assert sparse_rows(dataset) == as_float32(SPARSE_ROWS), "a second pass gives the same rows"


@pytest.mark.parametrize("format_name", TEXT_FORMATS + SPARSE_FORMATS)
def test_a_folder_gives_the_file_of_the_split(tmp_path, put_rows, format_name):
    rows = TEXT_ROWS if format_name in TEXT_FORMATS else SPARSE_ROWS
    put_rows(tmp_path, format_name, rows, gz=True)
    for path in sorted(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("train", "test").replace("trn", "tst")))
    put_rows(tmp_path, format_name, rows[:1])
    assert len(list(open_dataset(tmp_path, "train").rows())) == 1
    assert len(list(open_dataset(tmp_path, "test").rows())) == 3


@pytest.mark.parametrize(
    ("misleading_name", "content", "format_name"),
    [
        ("train.tsv", b'{"text": "a\\tb", "labels": ["x"]}\n', "jsonl"),
        ("train.jsonl", b"{curly} brackets\tx\nplain\ty\n", "tsv"),
        ("train.jsonl.gz", b"__label__x tab\tin the text\n", "fasttext"),
        ("train.json", b"1 3 2\n1 0:1.0\n", "xc-old"),
        ("train.csv", gzip.compress(b"a\tx\n", mtime=0), "tsv"),
    ],
)
def test_the_content_decides_not_the_name(tmp_path, put, misleading_name, content, format_name):
    put(tmp_path / misleading_name, content)
    dataset = open_dataset(tmp_path, "train")
    assert dataset.format_name == format_name
    assert list(dataset.rows())


def test_byte_order_mark_and_windows_line_ends(tmp_path, put):
    path = put(tmp_path / "f", "\ufeffone\tx\r\n\r\ntwo\ty; z\r\n".encode())
    assert text_rows(open_dataset(path, "train")) == [("one", ["x"]), ("two", ["y", "z"])]


def test_labels_are_stripped_and_kept_once_in_order(tmp_path, put):
    path = put(tmp_path / "f", b'{"text": "a", "labels": [" y ", "x", "", 7, "y"], "other": null}\n')
    assert text_rows(open_dataset(path, "train")) == [("a", ["y", "x", "7"])]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'{"text": "", "labels": ["x"]}\n', ("", ["x"])),
        (b'{"text": "a", "labels": []}\n', ("a", [])),
        (b"a\t\n", ("a", [])),
        (b"\tx\n", ("", ["x"])),
        (b"__label__x\n", ("", ["x"])),
        (b"__label__ a\n", ("a", [])),
    ],
)
def test_rows_without_text_or_labels_are_rows(tmp_path, put, content, row):
    dataset = open_dataset(put(tmp_path / "f", content), "train")
    assert text_rows(dataset) == [row]
    assert dataset.bad_lines == 0


def test_a_line_may_cross_many_blocks(tmp_path, put):
    long_text = "word " * 600_000
    path = put(tmp_path / "f", f"short\tx\n{long_text}\ty\nlast\tz".encode(), gz=True)
    assert text_rows(open_dataset(path, "train")) == [("short", ["x"]), (long_text, ["y"]), ("last", ["z"])]


def test_names_of_features_and_labels(tmp_path, put, put_rows):
    put_rows(tmp_path, "xc-new", SPARSE_ROWS)
    put(tmp_path / "Xf.txt", "".join(f"word{i}\n" for i in range(50)).encode(), gz=True)
    put(tmp_path / "Y.txt", "".join(f"label {i}\n" for i in range(20)).encode())
    dataset = open_dataset(tmp_path, "train")
    assert dataset.feature_names is not None
    assert dataset.feature_names[17] == "word17"
    assert [row.labels for row in dataset.rows()] == [("label 4", "label 2"), ("label 19",), ()]


def test_every_label_id_keeps_a_name_of_its_own(tmp_path, put):
    path = put(tmp_path / "train.txt", b"1 1 4\n0,1,2,3 0:1.0\n")
    put(tmp_path / "Y.txt", b"same\nsame\n\nsame\n")
    dataset = open_dataset(path, "train")
    assert dataset.label_names == ["same", "same #1", "#2", "same #3"]
    assert [row.labels for row in dataset.rows()] == [("same", "same #1", "#2", "same #3")]


def test_labels_of_relevance_zero_are_no_labels(tmp_path, put):
    put(tmp_path / "trn_X_Y.txt", b"1 4\n0:0.0 2:1 3:-1\n")
    path = put(tmp_path / "trn_X_Xf.txt", b"1 4\n1:1\n")
    assert sparse_rows(open_dataset(path, "train")) == [({1: 1.0}, ("2",))]


def test_old_sparse_rows_without_labels_or_features(tmp_path, put):
    path = put(tmp_path / "f", b"4 5 5\n1,1 0:1\n 2:1\n3:1\n4\n\n")
    assert sparse_rows(open_dataset(path, "train")) == [
        ({0: 1.0}, ("1",)),
        ({2: 1.0}, ()),
        ({3: 1.0}, ()),
        ({}, ("4",)),
    ]


@pytest.mark.parametrize(
    ("content", "queries"),
    [
        (b"red shoes\n\n blue boots \n", ["red shoes", "", "blue boots"]),
        (b"2020 2021\n", ["2020 2021"]),
        (b'{"text": "red"}\n\n{"text": "blue", "labels": ["x"]}\n', ["red", "blue"]),
        (b"red\tx\nblue\n", ["red", "blue"]),
        (b"__label__x red shoes\nblue\n", ["red shoes", "blue"]),
    ],
)
@pytest.mark.parametrize("gz", [False, True])
def test_queries(tmp_path, put, content, queries, gz):
    assert list(open_queries(put(tmp_path / "q", content, gz=gz))) == queries


@pytest.mark.parametrize("format_name", SPARSE_FORMATS)
def test_queries_of_sparse_files_need_no_labels(tmp_path, put_rows, format_name):
    path = put_rows(tmp_path, format_name, SPARSE_ROWS)
    (tmp_path / "trn_X_Y.txt").unlink(missing_ok=True)
    ids = [query.ids.tolist() for query in open_queries(path) if isinstance(query, Bag)]
    assert ids == [list(features) for features, _ in SPARSE_ROWS]


words = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="{"), min_size=1, max_size=8).filter(
    lambda word: "__label__" not in word
)
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)
# A quote at the start of a label of TSV, and a comma at the end of one of fastText, do not belong to it.
labels = st.lists(
    words.filter(lambda label: ";" not in label and label[0] != '"' and label[-1] not in ",|"),
    min_size=1,
    max_size=3,
    unique=True,
)
values = st.floats(width=32, allow_nan=False, allow_infinity=False)
features = st.dictionaries(st.integers(0, 49), values, max_size=5)
label_ids = st.lists(st.integers(0, 19), max_size=4, unique=True)


@pytest.mark.parametrize("format_name", TEXT_FORMATS)
@given(rows=st.lists(st.tuples(texts, labels), min_size=1, max_size=8), gz=st.booleans())
@deterministic
def test_any_text_rows_survive_writing_and_reading(tmp_path, put_rows, format_name, rows, gz):
    path = put_rows(tmp_path, format_name, rows, gz=gz)
    dataset = open_dataset(path, "train")
    assert dataset.format_name == format_name
    assert text_rows(dataset) == rows


@pytest.mark.parametrize("format_name", SPARSE_FORMATS)
@given(rows=st.lists(st.tuples(features, label_ids), max_size=8), gz=st.booleans())
@deterministic
def test_any_sparse_rows_survive_writing_and_reading(tmp_path, put_rows, format_name, rows, gz):
    rows = [({0: 1.0}, [1]), *rows]
    path = put_rows(tmp_path, format_name, rows, gz=gz)
    assert sparse_rows(open_dataset(path, "train")) == as_float32(rows)
