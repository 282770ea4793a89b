"""The raw texts of the extreme classification repository, and its pairs that are left out of figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from astec.export.readers import BadLinesError, DataError, open_dataset
from astec.export.readers.formats.filtered_pairs import FilteredPairs, find_filter_file

Put = Callable[..., Path]
LABELS = b'{"uid": "L0", "title": "knife"}\n{"uid": "L1", "title": "blue knife"}\n{"uid": "L2", "title": "boots"}\n'


def line(**members: object) -> bytes:
    return json.dumps(
        {"uid": "B0", "title": "a", "content": "long", "target_ind": [0], "target_rel": [1.0]} | members
    ).encode()


def put_texts(folder: Path, put: Put, *lines: bytes, gz: bool = True) -> Path:
    put(folder / ("lbl.json.gz" if gz else "lbl.json"), LABELS, gz=gz)
    return put(folder / ("trn.json.gz" if gz else "trn.json"), b"\n".join(lines), gz=gz)


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_titles_are_texts_and_labels(tmp_path: Path, put: Put, capsys: pytest.CaptureFixture[str], gz: bool) -> None:
    put_texts(tmp_path, put, line(title="blue knife online", target_ind=[1, 0], target_rel=[1.0, 1.0]), gz=gz)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.format_name, dataset.query_kind) == ("xc-text", "text")
    assert dataset.label_names == ["knife", "blue knife", "boots"]
    assert [(row.query, row.labels, row.weights) for row in dataset.rows()] == [
        ("blue knife online", ("blue knife", "knife"), None)
    ]
    assert capsys.readouterr().err == f"{dataset.paths[0]}: texts are titles; their content is not read\n"


def test_the_test_file_is_found_too(tmp_path: Path, put: Put) -> None:
    put_texts(tmp_path, put, line()).rename(tmp_path / "tst.json.gz")
    assert len(list(open_dataset(tmp_path, "test").rows())) == 1


def test_relevances_are_weights_and_zero_is_no_label(tmp_path: Path, put: Put) -> None:
    put_texts(tmp_path, put, line(target_ind=[2, 0, 1], target_rel=[2.5, 0, 1]), line(target_ind=[], target_rel=[]))
    rows = list(open_dataset(tmp_path, "train").rows())
    assert [(row.labels, row.weights) for row in rows] == [(("boots", "blue knife"), (2.5, 1.0)), ((), None)]


def test_labels_of_one_title_stay_two_labels(tmp_path: Path, put: Put) -> None:
    put_texts(tmp_path, put, line(target_ind=[0, 1, 2], target_rel=[1, 1, 1]))
    put(tmp_path / "lbl.json.gz", b'{"title": "same"}\n{"title": ""}\n{"title": "same"}\n', gz=True)
    assert [row.labels for row in open_dataset(tmp_path, "train").rows()] == [("same", "#1", "same #2")]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (line(target_ind=[3]), "label id 3 is not below 3, the number of labels in lbl.json"),
        (line(target_ind=[-1]), "\"target_ind\" holds '-1', which is no label id"),
        (line(target_ind=["x"]), "\"target_ind\" holds 'x', which is no label id"),
        (line(target_ind=None), '"target_ind" is null, not a list of label ids'),
        (line(target_rel=[]), '"target_rel" is not a list of as many numbers as "target_ind"'),
        (line(target_rel=["x"]), "the weight 'x' is not a number"),
        (line(title=None), '"title" is null, not a string'),
        (b"[]", "the line is a list, not an object"),
    ],
)
def test_a_bad_text_is_a_bad_line(tmp_path: Path, put: Put, bad: bytes, problem: str) -> None:
    put_texts(tmp_path, put, line(), bad, line())
    dataset = open_dataset(tmp_path, "train")
    with pytest.raises(BadLinesError) as raised:
        list(dataset.rows())
    assert raised.value.line == 2
    assert raised.value.problem.startswith(problem)
    assert len(list(dataset.rows(skip_bad_lines=True))) == 2


def test_labels_without_texts_are_refused(tmp_path: Path, put: Put) -> None:
    path = put_texts(tmp_path, put, line())
    (tmp_path / "lbl.json.gz").unlink()
    with pytest.raises(DataError, match=r"lbl\.json\.gz, the texts of its labels, is missing"):
        open_dataset(path, "train")
    put(tmp_path / "lbl.json", b'{"title": "a"}\n{"name": "b"}\n')
    with pytest.raises(DataError, match=r'lbl\.json:2: "title" is null'):
        open_dataset(path, "train")


def test_pairs_name_labels_by_number(tmp_path: Path, put: Put) -> None:
    put_texts(tmp_path, put, line(), line())
    dataset = open_dataset(tmp_path, "train")
    assert find_filter_file(dataset) is None
    path = put(tmp_path / "filter_labels_test.txt", b"1 2\r\n0 1\n1 0\n\n")
    assert find_filter_file(dataset) == path
    pairs = FilteredPairs(path, dataset)
    assert [pairs.labels_of(text) for text in range(3)] == [["blue knife"], ["boots", "knife"], []]
    assert len(pairs) == 3
    pairs.require_texts(2)
    with pytest.raises(DataError, match="a pair names text 1, and the test file has 1 texts"):
        pairs.require_texts(1)


def test_pairs_of_a_sparse_file_name_labels_without_names(tmp_path: Path, put: Put) -> None:
    dataset = open_dataset(put(tmp_path / "test.txt", b"1 2 3\n0 0:1\n"), "test")
    pairs = FilteredPairs(put(tmp_path / "filter_labels_test.txt", b"0 2\n"), dataset)
    assert pairs.labels_of(0) == ["2"]
    assert FilteredPairs(put(tmp_path / "none.txt", b""), dataset).labels_of(0) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"0 1\n0\n", r":2: '0' is not the number of a text and that of a label"),
        (b"0 1 2\n", r":1: '0 1 2' is not"),
        (b"0 -1\n", r":1: '0 -1' is not"),
        (b"0 3\n", r":1: label 3 is not below 3"),
        (b"0 9999999999\n", r":1: 9999999999 is no number of a text or label"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, put: Put, content: bytes, problem: str) -> None:
    put_texts(tmp_path, put, line())
    with pytest.raises(DataError, match=problem):
        FilteredPairs(put(tmp_path / "f.txt", content), open_dataset(tmp_path, "train"))


def test_pairs_need_labels_with_numbers(tmp_path: Path, put: Put) -> None:
    dataset = open_dataset(put(tmp_path / "test.jsonl", b'{"text": "a", "labels": ["x"]}\n'), "test")
    path = put(tmp_path / "filter_labels_test.txt", b"0 0\n")
    assert find_filter_file(dataset) is None
    with pytest.raises(DataError, match=r"the labels of test\.jsonl have none"):
        FilteredPairs(path, dataset)
