"""The encoded chunk in each output format, and the output that is made of all chunks."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bag, Query
from astec.server.engine.predictor import Rankings
from astec.server.engine.ranking_json import NO_PROBABILITIES
from astec.server.offline.bulk.output_formats import OutputError, OutputFormat, format_of

LABELS = TextTable.from_texts(["shoes", 'the "best", of\nall', "Größe"])
QUERIES: list[Query] = ["red shoes", "line\nbreak", Bag(np.array([3], np.int32), np.array([0.5], np.float32))]
RANKINGS = Rankings(
    np.array([[2, 0], [1, -1], [-1, -1]], np.int64), np.array([[0.75, 0.5], [0.25, 0], [0, 0]], np.float32)
)
PROBABILITIES = np.array([[0.875, 0.5], [0.125, 0], [0, 0]], np.float32)
HITS = [[(2, "Größe", 0.75), (0, "shoes", 0.5)], [(1, 'the "best", of\nall', 0.25)], []]
LIKELY_HITS = [
    [(*hit, likely) for hit, likely in zip(hits, row, strict=False)]
    for hits, row in zip(HITS, PROBABILITIES.tolist(), strict=True)
]
BAG = {"ids": [3], "weights": [0.5]}


def written(name: str, folder: Path, queries: Sequence[Query] = QUERIES, probabilities: bool = False) -> Path:
    """Write an output of two chunks, and return its path."""
    output_format, part, target = format_of(Path(name), probabilities), folder / "part", folder / name
    chunks = [slice(0, 2), slice(2, 3)]
    part.write_bytes(b"".join(encoded(output_format, chunk, probabilities) for chunk in chunks) if queries else b"")
    output_format.publish(part, target)
    assert [path.name for path in folder.iterdir()] == [name]
    return target


def encoded(output_format: OutputFormat, rows: slice, probabilities: bool = False) -> bytes:
    rankings = Rankings(RANKINGS.label_ids[rows], RANKINGS.scores[rows])
    likely = PROBABILITIES[rows] if probabilities else NO_PROBABILITIES
    return output_format.encode(rows.start, QUERIES[rows], rankings, likely, LABELS)


def as_dicts(hits: Sequence[tuple[object, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(("label_id", "label", "score", "probability"), hit, strict=False)) for hit in hits]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.JSONL.GZ", "answers"])
def test_json_lines(name: str, tmp_path: Path) -> None:
    content = written(name, tmp_path).read_bytes()
    plain = gzip.decompress(content) if name.lower().endswith(".gz") else content
    answers = [json.loads(line) for line in plain.splitlines()]
    assert [answer["query"] for answer in answers] == ["red shoes", "line\nbreak", BAG]
    assert [answer["predictions"] for answer in answers] == [as_dicts(hits) for hits in HITS]


def test_json_lines_with_probabilities(tmp_path: Path) -> None:
    lines = written("a.jsonl", tmp_path, probabilities=True).read_bytes().splitlines()
    assert [json.loads(line)["predictions"] for line in lines] == [as_dicts(hits) for hits in LIKELY_HITS]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv(name: str, tmp_path: Path) -> None:
    content = written(name, tmp_path).read_bytes()
    plain = gzip.decompress(content) if name.endswith(".gz") else content
    rows = list(csv.reader(io.StringIO(plain.decode(), newline="")))
    assert rows == [
        ["row", "query", "rank", "label_id", "label", "score"],
        ["1", "red shoes", "1", "2", "Größe", "0.75"],
        ["1", "red shoes", "2", "0", "shoes", "0.5"],
        ["2", "line\nbreak", "1", "1", 'the "best", of\nall', "0.25"],
        ["3", json.dumps(BAG, separators=(",", ":")), "", "", "", ""],
    ]


def test_a_carriage_return_ends_no_row_of_a_csv() -> None:
    rankings = Rankings(np.array([[-1]], np.int64), np.zeros((1, 1), np.float32))
    content = format_of(Path("a.csv"), False).encode(0, ["xml\rparser"], rankings, NO_PROBABILITIES, LABELS)
    assert content.decode().splitlines(keepends=True)[1:] == ['1,"xml\r', 'parser","","","",""\n']


def test_a_csv_reads_as_it_was_written() -> None:
    texts = ['"', '""a,b"', "", "\r\n", "Größe 🎉", "\\"]
    labels = TextTable.from_texts(reversed(texts))
    found = Rankings(np.array([[5, 0, 3]] * len(texts)), np.array([[1, 0.1, 3e-8]] * len(texts), np.float32))
    content = format_of(Path("a.csv"), False).encode(1023, texts, found, NO_PROBABILITIES, labels).decode()
    assert list(csv.reader(io.StringIO(content, newline=""))) == [
        [str(row), text, str(rank), str(label), labels[label], score]
        for row, text in enumerate(texts, 1024)
        for rank, label, score in ((1, 5, "1.0"), (2, 0, "0.1"), (3, 3, "0.00000003"))
    ]


def test_csv_with_probabilities(tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(written("a.csv", tmp_path, probabilities=True).read_text(), newline="")))
    assert rows[0] == ["row", "query", "rank", "label_id", "label", "score", "probability"]
    assert [row[5:] for row in rows[1:]] == [["0.75", "0.875"], ["0.5", "0.5"], ["0.25", "0.125"], ["", ""]]


def test_parquet_with_probabilities(tmp_path: Path) -> None:
    rows = pq.read_table(written("a.parquet", tmp_path, probabilities=True)).to_pylist()
    assert [row["predictions"] for row in rows] == [as_dicts(hits) for hits in LIKELY_HITS]


def test_parquet(tmp_path: Path) -> None:
    rows = pq.read_table(written("a.parquet", tmp_path)).to_pylist()
    assert [row["query"] for row in rows] == ["red shoes", "line\nbreak", json.dumps(BAG, separators=(",", ":"))]
    assert [row["predictions"] for row in rows] == [as_dicts(hits) for hits in HITS]


@pytest.mark.parametrize("probabilities", [False, True])
def test_parquet_of_no_query_has_the_same_schema(probabilities: bool, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "some").mkdir()
    none = written("a.parquet", tmp_path / "none", [], probabilities)
    some = written("a.parquet", tmp_path / "some", probabilities=probabilities)
    assert pq.read_table(none).num_rows == 0
    assert pq.read_schema(none).equals(pq.read_schema(some))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv.gz", "a.parquet"])
def test_a_chunk_is_the_same_whenever_it_is_written(name: str) -> None:
    one, other = (encoded(format_of(Path(name), False), slice(0, 3)) for _ in range(2))
    assert one == other


def test_parquet_is_not_compressed_once_more() -> None:
    with pytest.raises(OutputError, match=r"without \.gz"):
        format_of(Path("a.parquet.gz"), False)


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"pip install 'astec\[bulk\]'"):
        format_of(Path("a.parquet"), False)
