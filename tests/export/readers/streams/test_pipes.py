"""What a pipe gives is read as a file is: detected, compressed or not, as often as needed."""

from __future__ import annotations

import bz2
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.readers import DataError, open_dataset, open_queries
from astec.export.readers.records import read_records
from astec.export.readers.streams.stored_file import named_input, stored

ROWS = b"red shoes\tshoes;sale\nboots\tboots\n" * 50_000
"""More than a pipe holds."""


@contextmanager
def piped(content: bytes) -> Iterator[Path]:
    """Give bytes through a pipe, as `<(...)` does; the path is that of its open end."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield Path(f"/dev/fd/{reading}")
    finally:
        writer.join()
        os.close(reading)


@contextmanager
def as_stdin(path: Path) -> Iterator[None]:
    """Let an open file be stdin."""
    before = os.dup(0)
    opened = os.open(path, os.O_RDONLY)
    os.dup2(opened, 0)
    os.close(opened)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.mark.parametrize("pack", [bytes, bz2.compress], ids=["plain", "bzip2"])
def test_rows_from_a_pipe(pack: Callable[[bytes], bytes]) -> None:
    with piped(pack(ROWS)) as path:
        dataset = open_dataset(path, "train")
        assert dataset.format_name == "tsv"
        assert len(list(dataset.rows(progress=False))) == 100_000
        assert len(list(dataset.rows(progress=False))) == 100_000, "a second pass"


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_queries_from_stdin(name: str) -> None:
    with piped(ROWS) as pipe, as_stdin(pipe):
        assert list(open_queries(Path(name), progress=False))[:2] == ["red shoes", "boots"]


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_file_as_stdin_is_read_from_its_start(tmp_path: Path, put: Callable[..., Path], name: str) -> None:
    with as_stdin(put(tmp_path / "f", ROWS)):
        assert stored(named_input(Path(name))) == Path("/dev/stdin"), "no copy is needed"
        assert len(list(open_dataset(Path(name), "train").rows(progress=False))) == 100_000


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(ROWS,))
    writer.start()
    assert len(list(open_dataset(path, "train").rows(progress=False))) == 100_000
    writer.join()


def test_tables_from_pipes(tmp_path: Path) -> None:
    with piped(b"id;query\n1;red shoes\n2;boots\n") as path:
        assert list(open_queries(path)) == ["red shoes", "boots"]
    pq.write_table(pa.table({"query": ["red shoes"]}), tmp_path / "q")
    with piped((tmp_path / "q").read_bytes()) as path:
        assert list(open_queries(path)) == ["red shoes"]
    with piped(b'{"label": "x", "country": "DE"}\n') as path:
        assert list(read_records(path)) == [(1, {"label": "x", "country": "DE"})]


def test_errors_name_the_pipe() -> None:
    with piped(b"a\tx\nb\n") as path, pytest.raises(DataError) as raised:
        list(open_dataset(path, "train").rows(progress=False))
    assert (raised.value.path, raised.value.line) == (path, 2)


def test_an_empty_pipe_is_an_empty_file() -> None:
    with piped(b"") as path, pytest.raises(DataError, match="the file is empty"):
        open_dataset(path, "train")
    with pytest.raises(DataError, match="the file is empty"):
        open_dataset(Path("/dev/null"), "train")


def test_a_terminal_and_devices_are_refused() -> None:
    ours, theirs = os.openpty()
    try:
        with pytest.raises(DataError, match="is a terminal, into which nothing is piped"):
            open_queries(Path(f"/dev/fd/{theirs}"))
    finally:
        os.close(ours)
        os.close(theirs)
    with pytest.raises(DataError, match="is a device"):
        open_queries(Path("/dev/zero"))


def test_a_pipe_that_is_closed_is_refused() -> None:
    with piped(b"a\tx\n") as path:
        pass
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(path, "train")
