"""A folder of part files is one data set, in the order of sorted paths."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.readers import BadLinesError, DataError, ReadOptions, open_dataset
from astec.export.readers.places.part_files import part_files

Put = Callable[..., Path]


def put_parquet(path: Path, *pairs: tuple[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("query", pa.string()), ("label", pa.string())])
    pq.write_table(pa.Table.from_pylist([{"query": q, "label": label} for q, label in pairs], schema), path)
    return path


def put_lines(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps({"text": text, "labels": [f"l{text}"]}) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def texts_of(path: Path) -> list[str]:
    return [str(row.query) for row in open_dataset(path, "train").rows(progress=False)]


def test_parquet_parts_are_joined_across_files(tmp_path: Path) -> None:
    put_parquet(tmp_path / "part-00001.snappy.parquet", ("red", "sale"), ("hat", "hats"))
    put_parquet(tmp_path / "part-00000.snappy.parquet", ("red", "shoes"), ("boots", "boots"))
    put_parquet(tmp_path / "part-00002.snappy.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-00000.snappy.parquet.crc").write_bytes(b"crc")
    (tmp_path / "_temporary").mkdir()
    put_parquet(tmp_path / "_temporary" / "part-00009.parquet", ("half", "written"))
    rows = [(row.query, row.labels) for row in open_dataset(tmp_path, "train").rows(progress=False)]
    assert rows == [("red", ("shoes", "sale")), ("boots", ("boots",)), ("hat", ("hats",))]


def test_hive_folders_are_read_in_sorted_order(tmp_path: Path) -> None:
    for date, text in (("2026-01-02", "c"), ("2026-01-01", "a"), ("2026-01-10", "d")):
        put_parquet(tmp_path / f"date={date}" / "part-0.parquet", (text, "x"))
    put_parquet(tmp_path / "date=2026-01-01" / "part-1.parquet", ("b", "x"))
    assert texts_of(tmp_path) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("names", [["a.jsonl.gz", "b.jsonl.gz"], ["part-00000", "part-00001"], ["a.json", "b.ndjson"]])
def test_json_lines_in_parts(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        put_lines(tmp_path / name, f"1{name}", f"2{name}")
    dataset = open_dataset(tmp_path, "train")
    assert dataset.format_name == "jsonl"
    expected = [f"{number}{name}" for name in names for number in (1, 2)]
    assert texts_of(tmp_path) == expected
    assert [row.query for row in dataset.rows()] == expected, "and again"


def test_each_csv_part_has_its_own_order_of_columns(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "0.csv", b"text,labels\na,x\n")
    put(tmp_path / "1.csv", b"labels,day,text\ny,1,b\n")
    rows = [(row.query, row.labels) for row in open_dataset(tmp_path, "train").rows()]
    assert rows == [("a", ("x",)), ("b", ("y",))]


def test_a_folder_named_as_a_split_is_that_split(tmp_path: Path) -> None:
    put_parquet(tmp_path / "train.parquet" / "part-0.parquet", ("a", "x"))
    put_parquet(tmp_path / "test" / "part-0.parquet", ("b", "x"))
    assert texts_of(tmp_path) == ["a"]
    assert [row.query for row in open_dataset(tmp_path, "test").rows()] == ["b"]


def test_a_file_of_the_split_comes_before_parts(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "train.csv", b"text,labels\na,x\n")
    put_parquet(tmp_path / "part-0.parquet", ("b", "x"))
    assert texts_of(tmp_path) == ["a"]


def test_the_test_file_of_a_folder_is_no_part_of_its_training_data(tmp_path: Path) -> None:
    put_lines(tmp_path / "test.jsonl", "a")
    put_lines(tmp_path / "part-0.jsonl", "b")
    with pytest.raises(DataError, match="no train file in the folder"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize("other", ["b.csv", "b.jsonl.gz", "b.tsv", "README.md", "data.zip", "deep/README.md"])
def test_other_files_beside_the_parts_are_refused_by_name(tmp_path: Path, other: str) -> None:
    put_parquet(tmp_path / "a.parquet", ("a", "x"))
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_bytes(b"text,labels\na,x\n")
    with pytest.raises(DataError) as raised:
        open_dataset(tmp_path, "train")
    assert other in raised.value.problem
    assert "a.parquet (Parquet)" in raised.value.problem


def test_a_part_of_another_content_is_refused_when_it_is_reached(tmp_path: Path, put: Put) -> None:
    put_parquet(tmp_path / "0.parquet", ("a", "x"))
    put(tmp_path / "1.parquet", b"text,labels\na,x\n")
    with pytest.raises(DataError, match=r"1\.parquet: is no Parquet, as the other parts are"):
        texts_of(tmp_path)
    put_lines(tmp_path / "lines" / "part-0", "a")
    put(tmp_path / "lines" / "part-1", b"a\tx\n")
    with pytest.raises(DataError, match=r"part-1: a part in the format tsv, where part-0 has jsonl"):
        texts_of(tmp_path / "lines")


def test_a_part_without_a_column_is_refused(tmp_path: Path) -> None:
    put_parquet(tmp_path / "0.parquet", ("a", "x"))
    pq.write_table(pa.table({"query": ["a"], "clicked": ["x"]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"1\.parquet: column 'label' of the other parts is missing here"):
        texts_of(tmp_path)


def test_a_bad_line_is_that_of_its_part(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "0.csv", b"text,labels\na,x\n")
    path = put(tmp_path / "1.csv", b"text,labels\nb,y\nc\n")
    with pytest.raises(BadLinesError) as raised:
        texts_of(tmp_path)
    assert (raised.value.path, raised.value.line, raised.value.bad, raised.value.read) == (path, 3, 1, 3)


def test_empty_parts_are_left_out_and_nothing_else_is_refused(tmp_path: Path, put: Put) -> None:
    (tmp_path / "0.csv").touch()
    (tmp_path / "2.csv").touch()
    with pytest.raises(DataError, match="all of its 2 parts are empty"):
        open_dataset(tmp_path, "train")
    put(tmp_path / "1.csv", b"text,labels\na,x\n")
    assert texts_of(tmp_path) == ["a"]


def test_a_folder_of_a_split_without_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="holds no part of a data set"):
        open_dataset(tmp_path, "train")


def test_parts_are_listed_by_sorted_path(tmp_path: Path) -> None:
    for name in ("b/0.csv", "a/1.csv", "a/0.csv", "c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [str(path.relative_to(tmp_path)) for path in part_files(tmp_path)] == [
        "a/0.csv",
        "a/1.csv",
        "b/0.csv",
        "c.csv",
    ]


def test_options_hold_for_every_part(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "0.csv", b"q|hit\na|x;y\n")
    put(tmp_path / "1.csv", b"q|hit\nb|z\n")
    options = ReadOptions(text_column="q", label_column="hit", label_separator=";", delimiter="|")
    rows = [(row.query, row.labels) for row in open_dataset(tmp_path, "train", options).rows()]
    assert rows == [("a", ("x", "y")), ("b", ("z",))]
