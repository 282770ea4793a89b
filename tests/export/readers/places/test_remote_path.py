"""Data at an address of fsspec is read as a file or folder here; what is missing is named."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.readers import DataError, open_dataset
from astec.export.readers.places.remote_path import RemotePath, data_path

LINE = b'{"text": "red shoes", "labels": ["shoes"]}\n'


@pytest.fixture(name="memory")
def memory_fixture() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def rows_of(address: str) -> list[tuple[object, tuple[str, ...]]]:
    return [(row.query, row.labels) for row in open_dataset(data_path(address), "train").rows(progress=False)]


def parquet_bytes(**columns: list[str]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def test_a_path_is_no_address() -> None:
    assert type(data_path("clicks/train.jsonl")) is type(Path())
    assert isinstance(data_path("s3://bucket/log"), RemotePath)


def test_an_address_is_kept_as_it_was_given() -> None:
    path = data_path("s3://bucket/log/train.jsonl")
    assert str(path) == "s3://bucket/log/train.jsonl"
    assert path.name == "train.jsonl"
    assert str(path.with_name("test.jsonl")) == "s3://bucket/log/test.jsonl"
    assert str(path.parent / "a=1" / "b") == "s3://bucket/log/a=1/b"
    assert str(path.absolute()) == str(path.resolve()) == str(path)


def test_an_address_of_a_file_here_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(LINE)
    assert str(data_path(f"file://{tmp_path}") / "train.jsonl") == f"file://{tmp_path}/train.jsonl"
    assert rows_of(f"file://{tmp_path}/train.jsonl") == [("red shoes", ("shoes",))]


def test_a_file_is_copied(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.pipe("/log/train.jsonl", LINE)
    (RemotePath("memory://log") / "train.jsonl").copy_to(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LINE
    with pytest.raises(FileNotFoundError):
        RemotePath("memory://log/none").copy_to(tmp_path / "none")


@pytest.mark.parametrize("content", [LINE, gzip.compress(LINE, mtime=0)], ids=["plain", "gz"])
def test_a_file_at_an_address_is_read(memory: fsspec.AbstractFileSystem, content: bytes) -> None:
    memory.pipe("/log/train.jsonl", content)
    assert rows_of("memory://log/train.jsonl") == [("red shoes", ("shoes",))]
    assert rows_of("memory://log") == [("red shoes", ("shoes",))]


def test_parquet_parts_at_an_address_are_read(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/log/date=1/part-0.parquet", parquet_bytes(text=["a", "b"], label=["x", "y"]))
    memory.pipe("/log/date=2/part-0.parquet", parquet_bytes(text=["a"], label=["z"]))
    memory.pipe("/log/_SUCCESS", b"")
    assert rows_of("memory://log") == [("a", ("x", "z")), ("b", ("y",))]


def test_the_raw_texts_at_an_address_find_their_labels(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/xc/trn.json.gz", gzip.compress(b'{"title": "red shoes", "target_ind": [1]}\n'))
    memory.pipe("/xc/lbl.json.gz", gzip.compress(b'{"title": "hats"}\n{"title": "shoes"}\n'))
    assert rows_of("memory://xc") == [("red shoes", ("shoes",))]


def test_what_is_not_there_is_refused(memory: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(DataError, match=r"memory://nothing/train\.jsonl: cannot be read"):
        rows_of("memory://nothing/train.jsonl")


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(DataError, match="nonsense://x: is no address that fsspec knows"):
        rows_of("nonsense://x")


@pytest.mark.parametrize(("address", "extra"), [("s3://b/x", "s3"), ("gs://b/x", "gs"), ("memory://x", "remote")])
def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, address: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DataError, match=rf"which is not installed\. Install it \(pip install 'astec\[{extra}\]'\)"):
        rows_of(address)


@pytest.mark.parametrize(("module", "address", "extra"), [("s3fs", "s3://b/x", "s3"), ("gcsfs", "gs://b/x", "gs")])
def test_without_the_package_of_a_cloud_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, address: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"cannot be read \(.*\)\. Install it \(pip install 'astec\[{extra}\]'\)"):
        rows_of(address)


def test_an_error_of_a_cloud_is_told(memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        pass

    def refuse(path: str) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(memory, "info", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(NoCredentialsError: Unable to locate credentials\)"):
        rows_of("memory://log")
