"""Errors of data files name the file, the line and the remedy."""

import gzip
import json

import pytest

from astec.export.readers import BadLinesError, DataError, open_dataset, open_queries

GOOD = b'{"text": "a", "labels": ["x"]}\n'


def read(path, **options):
    return list(open_dataset(path, "train").rows(progress=False, **options))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "a", "labels": ["x"', "malformed JSON"),
        (b'["a", "x"]', "the line is a list, not an object"),
        (b"3", "the line is a number, not an object"),
        (b"[" * 100_000, "JSON that cannot be read"),
        (b'{"labels": ["x"]}', '"text" is missing'),
        (b'{"text": 3, "labels": ["x"]}', '"text" is a number, not a string'),
        (b'{"text": "a"}', '"labels" is missing'),
        (b'{"text": "a", "labels": "x"}', '"labels" is a string, not a list of strings'),
        (b'{"text": "a", "labels": ["x", null]}', '"labels" holds null and not only strings'),
        (b'{"text": "a", "labels": "x;y"}', "a list of strings (--label-column labels splits it at ;)"),
        (b'{"text": "a", "labels": ["x"]},', "malformed JSON: Extra data at column 31, before ','"),
        (b'{"text": "a", "labels": [{"name": "x"}]}', '"labels" holds an object, {"name": "x"}, and not only strings'),
        (b'{"text": "a", "labels": [true]}', '"labels" holds a boolean, true, and not only strings'),
        (b'{"text": "a", "labels": [["x"]]}', '"labels" holds a list, ["x"], and not only strings'),
        (b'{"text": "caf\xe9", "labels": ["x"]}', "byte 0xe9 at column 14 is not UTF-8"),
        (b'{"text": "\\ud83d", "labels": ["x"]}', "half a character (a lone surrogate)"),
        (b'{"text": "a", "labels": ["\\udc00"]}', "half a character (a lone surrogate)"),
    ],
)
def test_bad_json_line(tmp_path, put, line, problem):
    path = put(tmp_path / "train.jsonl", GOOD + line + b"\n" + GOOD)
    with pytest.raises(BadLinesError) as raised:
        read(path)
    assert str(raised.value).startswith(f"1 bad line of 3; first: {path}:2: ")
    assert problem in raised.value.problem
    assert str(raised.value).endswith(". Fix them or pass --skip-bad-lines.")


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"a\tx\nb\n", 2, "no tab separates a text from its labels"),
        (b"a\tx\nb\ty\tz\n", 2, "3 tab-separated fields, not 2"),
        (b"__label__x a\nb\n", 2, "no word starts with __label__"),
        (b"2 5 5\n1 0:1\n1 5:1\n", 3, "feature id 5 is not below 5, the number of features in the header"),
        (b"2 5 5\n1 0:1\n7 1:1\n", 3, "label id 7 is not below 5, the number of labels in the header"),
        (b"2 5 5\n1 0:1\n1 1:nan\n", 3, "'1:nan' is not a feature id, a colon and a finite number"),
        (b"2 5 5\n1 0:1\n1 1:inf\n", 3, "'1:inf' is not a feature id"),
        (b"2 5 5\n1 0:1\n1 1:1e39\n", 3, "the value 1e+39 is beyond the range of float32"),
        (b"2 5 5\n1 0:1\n1 1:1 1:2\n", 3, "feature id 1 occurs twice"),
        (b"2 5 5\n1 0:1\n1 1_0:1\n", 3, "'1_0:1' is not a feature id"),
        (b"2 5 5\n1 0:1\n1;2 1:1\n", 3, "'1;2' is not a list of label ids"),
        (b"3 5 5\n1 0:1\n1 1:1\n", 3, "the header says 3 rows, but the file ends after 2"),
        (b"1 5 5\n1 0:1\n1 1:1\n", 3, "the header says 1 rows, but here is one more"),
    ],
)
def test_bad_line_of_other_formats(tmp_path, put, content, line, problem):
    path = put(tmp_path / "train.txt", content, gz=True)
    with pytest.raises(BadLinesError) as raised:
        read(path)
    assert (raised.value.path, raised.value.line, raised.value.bad) == (path, line, 1)
    assert problem in raised.value.problem
    dataset = open_dataset(path, "train")
    good = list(dataset.rows(skip_bad_lines=True))
    assert dataset.bad_lines == 1
    assert good


@pytest.mark.parametrize(
    ("features", "labels", "culprit", "line", "problem"),
    [
        (b"1 2\n5:1\n", b"1 2\n0:1\n", "trn_X_Xf.txt", 2, "feature id 5 is not below 2"),
        (b"1 2\n1:1\n", b"1 2\n0:x\n", "trn_X_Y.txt", 2, "'0:x' is not a label id, a colon and a finite number"),
        (b"1 2\n1:1\n", b"1 2\n0:1 0:1\n", "trn_X_Y.txt", 2, "label id 0 occurs twice"),
    ],
)
def test_bad_line_of_either_half(tmp_path, put, features, labels, culprit, line, problem):
    put(tmp_path / "trn_X_Xf.txt", features)
    put(tmp_path / "trn_X_Y.txt", labels)
    with pytest.raises(BadLinesError) as raised:
        read(tmp_path)
    assert (raised.value.path, raised.value.line) == (tmp_path / culprit, line)
    assert problem in raised.value.problem


@pytest.mark.parametrize(
    ("features", "labels", "line", "problem"),
    [
        (b"2 2\n1:1\n0:1\n", b"2 2\n0:1\n", 2, "the header says 2 rows, but the file ends after 1"),
        (b"1 2\n1:1\n", b"1 2\n0:1\n1:1\n", 3, "the header says 1 rows, but here is one more"),
    ],
)
def test_halves_that_do_not_belong_together_are_no_bad_line(tmp_path, put, features, labels, line, problem):
    put(tmp_path / "trn_X_Xf.txt", features)
    put(tmp_path / "trn_X_Y.txt", labels)
    with pytest.raises(DataError, match="Copy or download both files again") as raised:
        read(tmp_path, skip_bad_lines=True)
    assert not isinstance(raised.value, BadLinesError)
    assert (raised.value.path, raised.value.line, raised.value.problem) == (tmp_path / "trn_X_Y.txt", line, problem)


def test_all_rows_come_before_the_refusal(tmp_path, put):
    path = put(tmp_path / "f", GOOD + b"{\n" + GOOD)
    rows: list[object] = []
    with pytest.raises(BadLinesError):
        rows.extend(open_dataset(path, "train").rows())
    dataset = open_dataset(path, "train")
    assert len(list(dataset.rows(skip_bad_lines=True))) == 2
    assert len(list(dataset.rows(skip_bad_lines=True))) == 2
    assert dataset.bad_lines == 1, "counted anew by every pass"


def test_a_file_of_another_kind_is_given_up_early(tmp_path, put):
    path = put(tmp_path / "f", GOOD + b"{\n" * 1000)
    with pytest.raises(BadLinesError, match=r"^101 bad lines of 102; first: .*f:2: malformed JSON"):
        read(path)
    assert len(read(path, skip_bad_lines=True)) == 1


@pytest.mark.parametrize("skip_bad_lines", [False, True])
def test_a_truncated_gzip_is_always_refused(tmp_path, put, skip_bad_lines):
    content = b"".join(json.dumps({"text": f"text {i}", "labels": [str(i)]}).encode() + b"\n" for i in range(100_000))
    path = put(tmp_path / "f", gzip.compress(content, mtime=0)[:-100])
    with pytest.raises(DataError, match=r"f: the gzip file is truncated\. Copy or download it again\.$"):
        read(path, skip_bad_lines=skip_bad_lines)


def test_a_damaged_gzip_is_refused(tmp_path, put):
    content = bytearray(gzip.compress(GOOD * 1000, mtime=0))
    content[-6] ^= 1
    path = put(tmp_path / "f", bytes(content))
    with pytest.raises(
        DataError, match=r"f: the gzip file is damaged \(CRC check failed.*Copy or download it again\.$"
    ):
        read(path)


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("opener", [lambda path: open_dataset(path, "train"), open_queries])
def test_an_empty_file_is_refused_at_once(tmp_path, put, opener, content):
    path = put(tmp_path / "train.txt", content)
    with pytest.raises(DataError, match=r"train\.txt: the file is empty\. Pass a file with one row per line\.$"):
        opener(path)


def test_a_file_without_labels_is_refused(tmp_path, put):
    path = put(tmp_path / "f", b"red shoes\nblue boots\n")
    with pytest.raises(DataError, match=r"holds labels in a known format\. Write JSON Lines, text<TAB>label;label"):
        open_dataset(path, "train")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read \(No such file or directory\)\. Pass a file"):
        open_dataset(tmp_path / "gone.jsonl", "train")


def test_a_line_without_end_is_refused(tmp_path, put):
    path = put(tmp_path / "f", GOOD + b"x" * (17 << 20), gz=True)
    with pytest.raises(DataError, match=r"f:2: the line is longer than 16 MiB\. Pass a text file"):
        read(path)


def test_a_folder_without_a_known_file(tmp_path, put):
    put(tmp_path / "test.jsonl", GOOD)
    put(tmp_path / "notes.md", b"notes")
    with pytest.raises(DataError) as raised:
        open_dataset(tmp_path, "train")
    assert raised.value.problem == "no train file in the folder (found: notes.md, test.jsonl)"
    assert raised.value.remedy.startswith("Add one of train.jsonl, train.tsv, train.txt, train.csv, trn_X_Xf.txt")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"no test file in the folder \(found: nothing\)\. Add one of test\.jsonl"):
        open_dataset(tmp_path, "test")


def test_a_folder_with_many_files_lists_only_some(tmp_path, put):
    for number in range(30):
        put(tmp_path / f"part{number:02}.txt", GOOD)
    with pytest.raises(DataError, match=r"part09\.txt, and 20 more\)"):
        open_dataset(tmp_path, "train")


def test_a_folder_with_several_candidates(tmp_path, put):
    put(tmp_path / "train.jsonl", GOOD)
    put(tmp_path / "train.tsv", b"a\tx\n")
    with pytest.raises(DataError, match=r"several files could be the train file: train\.jsonl, train\.tsv\. Pass the"):
        open_dataset(tmp_path, "train")


def test_half_of_a_pair_is_missing(tmp_path, put):
    path = put(tmp_path / "trn_X_Xf.txt", b"1 2\n0:1\n")
    with pytest.raises(DataError, match=r"trn_X_Y\.txt, its label half, is missing\. Put the label half beside it\.$"):
        open_dataset(path, "train")


def test_the_label_half_is_passed_alone(tmp_path, put):
    path = put(tmp_path / "trn_X_Y.txt", b"1 2\n0:1\n")
    with pytest.raises(DataError, match=r"without _Xf in its name\. Pass the feature half trn_X_Xf\.txt"):
        open_dataset(path, "train")


def test_halves_of_different_length(tmp_path, put):
    put(tmp_path / "trn_X_Y.txt", b"2 2\n0:1\n1:1\n")
    path = put(tmp_path / "trn_X_Xf.txt", b"1 2\n0:1\n")
    with pytest.raises(DataError, match=r"trn_X_Y\.txt:1: the header counts 2 rows, that of trn_X_Xf\.txt 1\. Use two"):
        open_dataset(path, "train")


@pytest.mark.parametrize("header", [b"one two", b"1 2 3", b"\xff"])
def test_a_half_without_its_header(tmp_path, put, header):
    put(tmp_path / "trn_X_Y.txt", header + b"\n0:1\n")
    path = put(tmp_path / "trn_X_Xf.txt", b"1 2\n0:1\n")
    with pytest.raises(
        DataError, match=r'trn_X_Y\.txt:1: the header "rows columns" \(whole numbers\) is missing\. Pass'
    ):
        open_dataset(path, "train")


def test_more_features_than_int32_holds(tmp_path, put):
    path = put(tmp_path / "f", b"1 3000000000 2\n1 0:1\n")
    with pytest.raises(DataError, match=r"f:1: the header counts 3000000000 features, more than 2147483647\. Renumber"):
        open_dataset(path, "train")


def test_names_of_another_number(tmp_path, put):
    path = put(tmp_path / "train.txt", b"1 2 2\n1 0:1\n")
    put(tmp_path / "Y.txt", b"only one\n")
    with pytest.raises(DataError, match=r"Y\.txt: 1 names for the 2 ids in the header of train\.txt\. Use the Y\.txt"):
        open_dataset(path, "train")


def test_names_that_are_not_utf8(tmp_path, put):
    path = put(tmp_path / "train.txt", b"1 2 2\n1 0:1\n")
    put(tmp_path / "Y.txt", b"fine\ncaf\xe9\n")
    with pytest.raises(
        DataError,
        match=r"Y\.txt:2: byte 0xe9 at column 4 is not UTF-8, .*Convert Y\.txt to UTF-8\.$",
    ):
        open_dataset(path, "train")


@pytest.mark.parametrize(
    ("content", "line", "problem", "remedy"),
    [
        (b'{"text": "a"}\n{"labels": []}\n', 2, '"text" is missing', "Fix or remove the line"),
        (b'{"text": "\\ud800"}\n', 1, "half a character", "Fix or remove the line"),
        (b"a\ncaf\xe9\n", 2, "is not UTF-8", "Fix or remove the line"),
        (b"1 2\n7:1\n", 2, "feature id 7 is not below 2", "Fix or remove the line"),
        (b"3 2 2\n1 0:1\n", 2, "the header says 3 rows", "Copy or download the file again"),
    ],
)
def test_a_bad_query_is_refused_where_it_stands(tmp_path, put, content, line, problem, remedy):
    path = put(tmp_path / "q", content)
    with pytest.raises(DataError) as raised:
        list(open_queries(path))
    assert (raised.value.path, raised.value.line, raised.value.remedy) == (path, line, remedy)
    assert problem in raised.value.problem


def test_queries_from_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"is a folder\. Pass one file of queries\.$"):
        open_queries(tmp_path)
