"""Queries from a column of a CSV or Parquet file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.readers import DataError, open_queries

QUERIES = ["red shoes", 'a "quoted", one', "two\nlines", "", "Größe"]
CSV = 'id,query,text\n1,red shoes,x\n2,"a ""quoted"", one",x\n3,"two\nlines",x\n4,,x\n\n5, Größe ,x\n'


def write_parquet(path: Path, **columns: Sequence[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["bare", "byte-order-mark"])
def test_a_csv_file_gives_the_texts_of_its_query_column(tmp_path: Path, put, gz: bool, start: str) -> None:
    path = put(tmp_path / "q.csv", (start + CSV).encode(), gz=gz)
    assert list(open_queries(path)) == QUERIES


def test_windows_line_ends_are_no_part_of_a_csv_field(tmp_path: Path, put) -> None:
    path = put(tmp_path / "q.csv", b"id,query\r\n1,red shoes\r\n2,boots\r\n", gz=False)
    assert list(open_queries(path)) == ["red shoes", "boots"]


@pytest.mark.parametrize(
    ("names", "column", "expected"),
    [("a,query,text", None, "2"), ("a,Text,b", None, "2"), ("text,query,c", "c", "3")],
    ids=["query", "text", "named"],
)
def test_the_column_is_the_one_named_or_query_or_text(
    tmp_path: Path, put, names: str, column: str | None, expected: str
) -> None:
    csv = put(tmp_path / "q.csv", f"{names}\n1,2,3\n".encode(), gz=False)
    values = dict(zip(names.split(","), [["1"], ["2"], ["3"]], strict=True))
    parquet = write_parquet(tmp_path / "q.parquet", **values)
    assert list(open_queries(csv, column=column)) == [expected]
    assert list(open_queries(parquet, column=column)) == [expected]


def test_a_parquet_file_gives_its_texts_whatever_its_name_and_null_as_an_empty_query(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "data", id=list(range(6)), query=[*QUERIES, None])
    assert list(open_queries(path)) == [*QUERIES, ""]


def test_a_parquet_file_without_rows_has_no_queries(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    pq.write_table(pa.table({"query": pa.array([], pa.string())}), path)
    assert list(open_queries(path)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"id,query\n1,red\n2\n", ":3: the row has 1 fields, and the query is field 2"),
        (b"query,id\nred\t1\n", ":2: the row has tabs and 1 of the 2 fields that the first row names"),
        (b'id,query\n1,"red\n', "malformed CSV: unexpected end of data"),
        (b"id,query\n1,r\xe9d\n", ":2: byte 0xe9 at column 4 is not UTF-8"),
    ],
    ids=["empty", "short-row", "other-delimiter", "open-quote", "latin-1"],
)
def test_a_csv_file_that_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, put, content: bytes, message: str
) -> None:
    path = put(tmp_path / "q.csv", content, gz=False)
    with pytest.raises(DataError) as error:
        list(open_queries(path))
    assert message in str(error.value)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, put) -> None:
    csv = put(tmp_path / "q.csv", CSV.encode(), gz=False)
    parquet = write_parquet(tmp_path / "q.parquet", id=["1"], query=["red"], text=["x"])
    for path in (csv, parquet):
        with pytest.raises(DataError, match=r"no column 'words' \(columns: 'id', 'query', 'text'\).*--column"):
            open_queries(path, column="words")


def test_a_file_without_columns_refuses_the_name_of_one(tmp_path: Path, put) -> None:
    path = put(tmp_path / "q.txt", b"red shoes\n", gz=False)
    with pytest.raises(DataError, match="the file has no columns"):
        open_queries(path, column="words")


def test_a_parquet_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "q.parquet", query=[1, 2])
    with pytest.raises(DataError, match="column 'query' holds int64, not strings"):
        open_queries(path)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "q.parquet", query=QUERIES)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="the Parquet file is damaged"):
        open_queries(path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "q.parquet", query=QUERIES)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'astec\[bulk\]'"):
        open_queries(path)
