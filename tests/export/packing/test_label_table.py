"""A table of label metadata is read in every format; bad rows are refused with their line number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from astec.export.__main__ import EXIT_BAD_INPUT, app
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.store import open_artifact
from astec.export.packing.label_table import read_label_metadata
from astec.export.readers import DataError

LABELS = TextTable.from_texts(["red shoes", "blue shoes", "garden hose"])
ROWS: list[dict[str, Any]] = [
    {"label": "red shoes", "advertiser": "acme", "country": ["DE", "AT", "DE"], "active": True, "bid": 7},
    {"label": " garden hose ", "advertiser": "Öko, Ltd", "country": "AT", "active": False, "bid": -1},
    {"label": "no such label", "advertiser": "acme", "country": [], "active": None, "bid": 0},
]
PINNED = ("--shortlist", "points", "--dim", "8", "--neighbours", "10", "--m", "8", "--ef-search", "20")


def write_lines(path: Path, *rows: object) -> Path:
    content = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def described(metadata: LabelMetadata) -> dict[str, tuple[str, dict[str, list[int]]]]:
    """The kind of each column, and the labels of each of its values."""
    found: dict[str, tuple[str, dict[str, list[int]]]] = {}
    value = 0
    for column in metadata.columns:
        labels = {}
        for text in metadata.values[value : value + column.values]:
            begin, end = metadata.labels.indptr[value : value + 2]
            labels[text] = metadata.labels.indices[begin:end].tolist()
            value += 1
        found[column.name] = (column.kind, labels)
    assert value == len(metadata.values)
    return found


TYPED = {
    "advertiser": ("string", {"acme": [0], "Öko, Ltd": [2]}),
    "country": ("string", {"AT": [0, 2], "DE": [0]}),
    "active": ("boolean", {"false": [2], "true": [0]}),
    "bid": ("integer", {"-1": [2], "7": [0]}),
}


@pytest.mark.parametrize("name", ["t.jsonl", "t.json.gz"])
def test_json_lines_have_values_of_every_kind(tmp_path: Path, name: str) -> None:
    table = read_label_metadata(write_lines(tmp_path / name, *ROWS), LABELS)
    assert described(table.metadata) == TYPED
    assert (table.rows, table.unknown, table.metadata.num_labels) == (3, 1, 3)


def test_parquet_has_them_too(tmp_path: Path) -> None:
    rows = [row | {"country": row["country"] if isinstance(row["country"], list) else [row["country"]]} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "labels")
    table = read_label_metadata(tmp_path / "labels", LABELS)
    assert described(table.metadata) == TYPED
    assert (table.rows, table.unknown) == (3, 1)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_has_strings_and_an_empty_field_is_no_value(tmp_path: Path, name: str) -> None:
    rows = ("label_id,advertiser,bid", "2,acme,7", '0,"Öko, Ltd",', "99,other,1")
    table = read_label_metadata(write_lines(tmp_path / name, *rows), LABELS)
    assert described(table.metadata) == {
        "advertiser": ("string", {"acme": [2], "Öko, Ltd": [0]}),
        "bid": ("string", {"7": [2]}),
    }
    assert (table.rows, table.unknown) == (3, 1)


GOOD = {"label": "red shoes", "a": "x"}


@pytest.mark.parametrize(
    ("rows", "line", "problem"),
    [
        ([GOOD, {"label": "red shoes", "a": "y"}], 2, "the label 'red shoes' has a row already"),
        ([GOOD, {"label_id": 0}], 2, "the label 'red shoes' has a row already"),
        ([GOOD, "{"], 2, "malformed JSON"),
        ([[1]], 1, 'the line is a list, not an object {"label": ..., "COLUMN": ...}'),
        ([{"a": 1}], 1, 'one of the columns "label" and "label_id"'),
        ([{"label": "red shoes", "label_id": 0}], 1, 'one of the columns "label" and "label_id"'),
        ([{"label": 3}], 1, '"label" is a number, not a string'),
        ([{"label_id": "x"}], 1, '"label_id" is a string, not an integer'),
        ([{"label_id": True}], 1, '"label_id" is a boolean, not an integer'),
        ([{"label_id": "9" * 5000}], 1, '"label_id" is a string, not an integer'),
        ([GOOD, {"label": "blue shoes", "a": 1}], 2, "column 'a' has an integer here, and a string before"),
        ([GOOD, {"label": "unknown", "a": True}], 2, "column 'a' has a boolean here, and a string before"),
        ([GOOD, {"label": "blue shoes", "a": 1.5}], 2, "column 'a' has a float, not a string, a boolean"),
        ([GOOD, {"label": "blue shoes", "a": {"b": 1}}], 2, "column 'a' has a dict, not a string, a boolean"),
        ([GOOD, {"label": "blue shoes", "a": ["x", 1]}], 2, "column 'a' has a list that holds a number"),
        ([{"label": "red shoes", "a": 2**63}], 1, "column 'a' has an integer that 64 bits do not hold"),
        ([{"label": "red shoes", "a": "x" * 513}], 1, "column 'a' has a value of 513 characters; the limit is 512"),
        (['{"label": "red shoes", "a": "\\ud800"}'], 1, "half a character"),
        (['{"label": "red shoes", "\\ud800": "a"}'], 1, "half a character"),
        ([{"label": "red shoes", "": "x"}], 1, "the name of a column has 0 characters; it needs 1 to 64"),
        ([{"label": "red shoes", "n" * 65: "x"}], 1, "the name of a column has 65 characters"),
        ([{"label": "red shoes"} | {f"c{i}": 1 for i in range(33)}], 1, "'c32' is one more than the limit of 32"),
        ([{"label": "pink shoes", "a": "x"}], None, "none of its 1 rows is about one of the 3 labels of the model"),
        ([], None, "none of its 0 rows"),
        ([{"label": "red shoes"}], None, "it has no column beside that of the labels"),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, rows: list[object], line: int | None, problem: str
) -> None:
    path = write_lines(tmp_path / "t.jsonl", *rows)
    with pytest.raises(DataError) as caught:
        read_label_metadata(path, LABELS)
    assert problem in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith(str(path))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["label,a,a", "red shoes,1,2"], "two columns have the name 'a'"),
        (["label,a", "red shoes"], "the row has 1 fields, and the first row names 2"),
        (["label,a", '"red shoes,1'], "malformed CSV"),
        (["text,a", "red shoes,1"], 'one of the columns "label" and "label_id"'),
    ],
)
def test_a_csv_that_cannot_be_is_refused(tmp_path: Path, rows: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv:\d") as caught:
        read_label_metadata(write_lines(tmp_path / "t.csv", *rows), LABELS)
    assert problem in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"PAR1torn")
    for path, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "torn", "damaged"),
    ):
        with pytest.raises(DataError, match=problem):
            read_label_metadata(path, LABELS)


def test_a_date_of_parquet_is_no_value(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": ["red shoes"], "since": pa.array([1], pa.date32())}), tmp_path / "labels")
    with pytest.raises(DataError, match=r"labels:1: column 'since' has a date, not a string"):
        read_label_metadata(tmp_path / "labels", LABELS)


def test_the_command_publishes_it_and_tells_what_it_left_out(full_run: Path, tmp_path: Path) -> None:
    table = write_lines(
        tmp_path / "t.jsonl", {"label": "label 3", "country": "DE"}, {"label": "shoes", "country": "AT"}
    )
    target = tmp_path / "artifact"
    result = CliRunner().invoke(app, [str(full_run), str(target), *PINNED, "--label-metadata", str(table)])
    assert result.exit_code == 0, result.output
    assert "label metadata: 1 of 150 labels, columns (and their distinct values) country (1)" in result.output
    assert "1 of 2 rows are about labels that the model does not have: left out" in result.output
    metadata = open_artifact(target).label_metadata
    assert metadata is not None
    assert described(metadata) == {"country": ("string", {"DE": [3]})}


def test_the_command_publishes_nothing_where_the_table_is_bad(full_run: Path, tmp_path: Path) -> None:
    table = write_lines(tmp_path / "t.jsonl", "nothing")
    result = CliRunner().invoke(app, [str(full_run), str(tmp_path / "artifact"), "--label-metadata", str(table)])
    assert result.exit_code == EXIT_BAD_INPUT
    assert f"{table}:1: malformed JSON" in result.output
    assert not (tmp_path / "artifact").exists()
