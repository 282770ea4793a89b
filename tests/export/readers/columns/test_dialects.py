"""The delimiter of a table is found or named, and a row that is cut at the wrong place is never a query."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import DataError, open_queries
from astec.export.readers.read_options import ReadOptions
from astec.export.readers.records import read_records

QUERIES = ["red shoes", "blue, large boots", "a; b", "two\nlines", "a | b"]


def table(delimiter: str, names: tuple[str, ...] = ("id", "query", "note")) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(names)
    writer.writerows([number, query, "x"] for number, query in enumerate(QUERIES))
    return buffer.getvalue().encode()


@pytest.mark.parametrize("name", ["q.csv", "q.txt", "q"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_delimiter_is_found(tmp_path, put, name, delimiter, encoding):
    path = put(tmp_path / name, table(delimiter).decode().encode(encoding))
    assert list(open_queries(path)) == QUERIES


def test_rows_of_semicolons_are_not_cut_at_commas(tmp_path, put):
    path = put(tmp_path / "q.csv", b"\xef\xbb\xbfid;query;note\r\n1;red shoes;x\r\n2;blue, large boots;y\r\n")
    assert list(open_queries(path)) == ["red shoes", "blue, large boots"]
    assert [record["query"] for _, record in read_records(path)] == ["red shoes", "blue, large boots"]


def test_the_first_line_of_excel_names_the_delimiter(tmp_path, put):
    path = put(tmp_path / "q.csv", b"sep=;\nid;query\n1;a,b\n")
    assert list(open_queries(path)) == ["a,b"]


def test_a_column_is_asked_for_where_none_is_called_query_or_text(tmp_path, put, capsys):
    path = put(tmp_path / "q.csv", b"Nr;Suchbegriff\n1;rote Schuhe\n")
    with pytest.raises(DataError, match=r"\(columns: 'Nr', 'Suchbegriff'\)\. Pass the one that holds .* --column"):
        open_queries(path)
    assert list(open_queries(path, column="Suchbegriff")) == ["rote Schuhe"]
    other = put(tmp_path / "q.txt", path.read_bytes())
    assert list(open_queries(other, column="Suchbegriff")) == ["rote Schuhe"]
    assert list(open_queries(put(tmp_path / "one.csv", b"phrase\nred shoes\n"))) == ["red shoes"], "the only column"
    assert "'phrase' is taken as the name of the only column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id,query\n1,red\n2,blue, large boots\n", 3),
        (b"query\nred\nblue, large boots\n", 3),
        (b"id;query\n1;a;b\n", 2),
    ],
)
def test_a_row_with_more_fields_than_columns_is_refused(tmp_path, put, content, line):
    path = put(tmp_path / "q.csv", content)
    with pytest.raises(DataError, match="Quote fields that hold the delimiter") as raised:
        list(open_queries(path))
    assert raised.value.line == line


def test_empty_fields_after_the_last_column_are_no_fields(tmp_path, put):
    assert list(open_queries(put(tmp_path / "q.csv", b"id,query\n1,red,,\n2,blue\n"))) == ["red", "blue"]


def test_two_delimiters_that_would_do_are_asked_for(tmp_path, put):
    path = put(tmp_path / "q.csv", b"a,query;b\n1,red;x\n")
    with pytest.raises(DataError, match=r"may be separated by comma and semicolon\. Name it"):
        open_queries(path)
    assert list(open_queries(path, column="query;b", options=ReadOptions(delimiter=","))) == ["red;x"]


@pytest.mark.parametrize("delimiter", ["", "::", '"', "\n"])
def test_a_delimiter_of_another_length_is_refused(tmp_path, put, delimiter):
    path = put(tmp_path / "q.csv", b"a,query\n1,red\n")
    with pytest.raises(DataError, match="is not one character"):
        open_queries(path, options=ReadOptions(delimiter=delimiter))


def test_tabs_may_be_named(tmp_path, put):
    path = put(tmp_path / "q", b"query\nred shoes\n")
    assert list(open_queries(path, options=ReadOptions(delimiter="tab"))) == ["red shoes"]


def test_lines_of_several_tabs_without_a_header_are_refused(tmp_path, put):
    path = put(tmp_path / "q.tsv", b"1\tred shoes\tx\n2\tboots\ty\n")
    with pytest.raises(DataError, match=r"q\.tsv:1: 3 tab-separated fields, and no header says which is the text"):
        list(open_queries(path))


@pytest.mark.parametrize("content", [b"id\tquery\n1\tred\t\t\n", b"id\tquery\n1\tred\n2\n"])
def test_a_row_of_tabs_as_wide_as_no_header_is_refused(tmp_path, put, content):
    path = put(tmp_path / "q.csv", content)
    rows = list(open_queries(path)) if content.endswith(b"\t\n") else None
    if rows is None:
        with pytest.raises(DataError, match=":3: the row has 1 fields"):
            list(open_queries(path))
    else:
        assert rows == ["red"]


fields = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@given(queries=st.lists(fields, min_size=1, max_size=30), delimiter=st.sampled_from(",;|\t"))
@settings(derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_gives_its_queries_or_asks(tmp_path, put, queries, delimiter):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["id", "query", "note"])
    writer.writerows([str(number), query, "x"] for number, query in enumerate(queries))
    path = put(tmp_path / "q.csv", buffer.getvalue().encode())
    assert list(open_queries(path)) == queries
