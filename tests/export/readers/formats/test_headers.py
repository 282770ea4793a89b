"""Header lines, keys that are not understood, and sparse rows without a header are said."""

from __future__ import annotations

import pytest

from astec.export.artifact.text.bags import Bag
from astec.export.readers import DataError, open_dataset, open_queries


def rows(path):
    return [(row.query, row.labels) for row in open_dataset(path, "train").rows(progress=False)]


@pytest.mark.parametrize(
    "header",
    [
        *("text\tlabels", "query\tlabel", "Search Term\tCategory", "\ufeffTEXT\tTags", '"text"\t"labels"'),
        *("search_term\tclicked_phrase", "user_query\tlabels"),
    ],
)
def test_a_header_is_recognised_and_said(tmp_path, put, capsys, header):
    path = put(tmp_path / "train.tsv", f"{header}\nred shoes\tshoes;sale\n".encode())
    assert rows(path) == [("red shoes", ("shoes", "sale"))]
    assert "is taken as a header, not as a row" in capsys.readouterr().err


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(("name", "tab"), [("train.tsv", b"\t"), ("train.csv", b",")])
def test_the_headers_of_files_that_were_joined_are_no_rows(tmp_path, put, capsys, name, tab, mark):
    one = mark + b"text" + tab + b"labels\nred shoes" + tab + b"shoes;sale\n"
    path = put(tmp_path / name, 3 * one)
    assert rows(path) == [("red shoes", ("shoes", "sale"))] * 3
    assert "lines that repeat the names of the columns are left out, as where files were joined (2 lines)" in (
        capsys.readouterr().err
    )


def test_labels_that_seem_to_come_first_are_said(tmp_path, put, capsys):
    lines = b"shoes;sale\tred shoes\nboots;sale\tblue boots\nboots\told boots\n"
    rows(put(tmp_path / "train.tsv", lines))
    assert "if labels come first, put a line labels<TAB>text above them" in capsys.readouterr().err
    assert rows(put(tmp_path / "named.tsv", b"labels\ttext\n" + lines))[0] == ("red shoes", ("shoes", "sale"))
    assert "if labels come first" not in capsys.readouterr().err
    rows(put(tmp_path / "both.tsv", lines + b"a;b\tc;d\n"))
    assert "if labels come first" not in capsys.readouterr().err


@pytest.mark.parametrize("header", ["text\tlabels", "Category\tSearch Term", "id\tquery\tnote"])
def test_a_header_is_no_query(tmp_path, put, capsys, header):
    texts = ["query" in name.lower() or name.lower() in ("text", "search term") for name in header.split("\t")]
    row = "\t".join("red shoes" if is_text else "x" for is_text in texts)
    assert list(open_queries(put(tmp_path / "q", f"{header}\n{row}\n{row}\n".encode()))) == ["red shoes"] * 2
    assert "is taken as the names of columns" in capsys.readouterr().err


def test_a_header_may_name_the_labels_first(tmp_path, put):
    path = put(tmp_path / "train.tsv", b"label\ttext\nshoes;sale\tred shoes\n")
    assert rows(path) == [("red shoes", ("shoes", "sale"))]


@pytest.mark.parametrize(
    "line", ["text\tbook", "red shoes\tlabels", "labels\tlabels", "text_book\tshoes", "text\tclicked phrase"]
)
def test_a_row_that_is_half_like_a_header_is_a_row(tmp_path, put, capsys, line):
    path = put(tmp_path / "train.tsv", f"{line}\nred\tx\n".encode())
    assert len(rows(path)) == 2
    assert capsys.readouterr().err == ""


def test_keys_that_are_not_understood_are_said_once(tmp_path, put, capsys):
    line = b'{"text": "a", "labels": ["x"], "id": 7, "note": null}\n'
    path = put(tmp_path / "train.jsonl", 3 * line + b'{"text": "a", "labels": ["x"], "id": 8}\n')
    assert len(rows(path)) == 4
    said = capsys.readouterr().err
    assert "keys that are not understood are left out: 'id' (4 lines), 'note' (3 lines)\n" in said
    assert list(open_queries(path)) == ["a"] * 4
    assert "'id' (4 lines)" in capsys.readouterr().err


def test_very_many_keys_are_not_all_said(tmp_path, put, capsys):
    lines = (f'{{"text": "a", "labels": ["x"], "k{number}": 1}}\n' for number in range(5000))
    assert len(rows(put(tmp_path / "train.jsonl", "".join(lines).encode()))) == 5000
    said = capsys.readouterr().err
    assert "and others" in said
    assert len(said) < 1000


def test_a_missing_key_is_named_beside_those_that_are_there(tmp_path, put):
    path = put(tmp_path / "train.jsonl", b'{"query": "a", "label": "x"}\n')
    with pytest.raises(DataError, match='"text" is missing \\(the line has "query", "label"; --text-column'):
        rows(path)


def test_a_half_of_sparse_files_without_a_header_is_told_the_header_of_a_half(tmp_path, put):
    path = put(tmp_path / "trn_X_Xf.txt", b"1:0.5 4:1\n2:1\n")
    put(tmp_path / "trn_X_Y.txt", b"0:1\n1:1\n")
    with pytest.raises(DataError, match=r'without the header "rows columns".*\(echo 2 5; cat .*labels needs one, too'):
        rows(path)


def test_sparse_rows_without_a_header_are_told_their_header(tmp_path, put):
    content = b"1,3 1:0.5 4:1\n2 2:1e-1 3:0.25\n1 1:1 5:0.5 \n"
    path = put(tmp_path / "train.txt", content)
    for read in (rows, open_queries):
        with pytest.raises(DataError, match=r'without the header "rows features labels".*\(echo 3 6 4; cat ') as raised:
            read(path)
        assert raised.value.line is None
    assert len(rows(put(tmp_path / "new.txt", b"3 6 4\n" + content))) == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"+1 3:1 7:0.5", "labels are not ids such as 3,17"),
        (b"1 qid:1 3:1", "has a query id, qid:"),
        (b"1 3:1 # first", "has a comment, from # on"),
    ],
)
def test_sparse_rows_that_cannot_be_read_are_refused_with_the_reason(tmp_path, put, line, problem):
    path = put(tmp_path / "train.txt", b"1 1:1\n" + line + b"\n")
    with pytest.raises(DataError, match=f"looks like sparse rows, such as those of libsvm, but {problem}"):
        rows(path)


def test_a_query_in_json_lines_may_have_another_key(tmp_path, put):
    path = put(tmp_path / "q.jsonl", b'{"query": "red", "text": "blue"}\n{"text": "blue", "query": "red"}\n')
    assert list(open_queries(path)) == ["blue", "blue"]
    assert list(open_queries(path, column="query")) == ["red", "red"]
    path = put(tmp_path / "r.jsonl", b'{"query": "red", "id": 7}\n')
    assert list(open_queries(path)) == ["red"]
    with pytest.raises(DataError, match=r'"q" is missing \(the line has "query", "id"; --column names another key\)'):
        list(open_queries(path, column="q"))


@pytest.mark.parametrize(
    "queries",
    [
        ["12 500", "4711", "815", "42"],
        ["4711", "12 500"],
        ["1 2 3", "4", "5"],
        ["10:30", "11:45"],
        ["3 4", "7:30", "8", "9"],
    ],
)
def test_numbers_are_queries(tmp_path, put, queries):
    assert list(open_queries(put(tmp_path / "q.txt", "\n".join(queries).encode()))) == queries


def test_sparse_rows_below_a_header_are_bags(tmp_path, put):
    queries = list(open_queries(put(tmp_path / "q.txt", b"2 9\n1:1 2:0.5\n8:2\n")))
    assert all(isinstance(query, Bag) for query in queries)
