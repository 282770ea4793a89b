"""Compressed files are read, whatever their names; truncated and damaged ones and other kinds are refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import BadLinesError, DataError, open_dataset, open_queries

ROWS = b"".join(b"red shoes %d\tshoes;sale\n" % number for number in range(3000))


def zstd_bytes(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "Zstandard": zstd_bytes,
}
NAMES = sorted(COMPRESS)


def num_rows(path) -> int:
    return len(list(open_dataset(path, "train").rows(progress=False)))


@pytest.mark.parametrize("file_name", ["train.tsv", "train.tsv.gz", "train.bz2"])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_bytes_say_how_a_file_is_compressed(tmp_path, put, name, file_name):
    path = put(tmp_path / file_name, COMPRESS[name](ROWS))
    assert num_rows(path) == len(list(open_queries(path))) == 3000


@pytest.mark.parametrize("name", NAMES)
def test_files_that_were_joined_are_read_to_the_end(tmp_path, put, name):
    assert num_rows(put(tmp_path / "f", 3 * COMPRESS[name](ROWS))) == 9000


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_refused(tmp_path, put, name):
    path = put(tmp_path / "f", COMPRESS[name](ROWS)[:-9])
    with pytest.raises(DataError, match=rf"f: the {name} file is truncated\. Copy or download it again\.$"):
        num_rows(path)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_damaged_file_is_refused(tmp_path, put, name):
    content = bytearray(COMPRESS[name](ROWS))
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path = put(tmp_path / "f", bytes(content))
    with pytest.raises(DataError, match=rf"f: the {name} file is (damaged|truncated)"):
        num_rows(path)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_what_follows_compressed_data_is_not_left_out_silently(tmp_path, put, name):
    path = put(tmp_path / "f", COMPRESS[name](ROWS) + b"more rows\tthan that\n")
    with pytest.raises(DataError, match=rf"damaged \(bytes that are no {name} follow its compressed data\)"):
        num_rows(path)


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_zeros_after_compressed_data_are_padding(tmp_path, put, name):
    assert num_rows(put(tmp_path / "f", COMPRESS[name](ROWS) + bytes(512))) == 3000


def test_zstandard_without_pyarrow_says_what_to_install(tmp_path, put, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = put(tmp_path / "f", COMPRESS["Zstandard"](ROWS))
    with pytest.raises(DataError, match=r"pip install 'astec\[bulk\]'"):
        num_rows(path)


def test_both_halves_and_names_may_be_compressed(tmp_path, put):
    path = put(tmp_path / "trn_X_Xf.txt.bz2", bz2.compress(b"1 2\n1:1\n"))
    put(tmp_path / "trn_X_Y.txt.xz", lzma.compress(b"1 2\n0:1\n"))
    put(tmp_path / "Y.txt.zst", zstd_bytes(b"boots\nshoes\n"))
    assert [row.labels for row in open_dataset(path, "train").rows()] == [("boots",)]


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, ROWS)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("train.tsv")
        member.size = len(ROWS)
        archive.addfile(member, io.BytesIO(ROWS))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros((2, 2)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped("train.tsv"), "a zip archive"),
        (npz(), r"an archive of numpy \(\.npz\)"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel or Word file"),
        (zipped("archive/data.pkl"), "a file of torch"),
        (pickle.dumps([("a", ["x"])]), "a pickle"),
        (pickle.dumps({"a": "x"}, protocol=2), "a pickle"),
        (tarred(), "a tar archive"),
        (gzip.compress(tarred(), mtime=0), "a tar archive"),
        (gzip.compress(zipped("train.tsv"), mtime=0), "a zip archive"),
        (gzip.compress(bz2.compress(ROWS), mtime=0), "compressed twice"),
        (b"\x04\x22\x4d\x18" + bytes(20), "compressed by lz4"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "a 7z archive"),
        (
            gzip.compress(b"PAR1" + bytes(80), mtime=0),
            r"a Parquet file\. If it was compressed as a whole, decompress it",
        ),
        (b"SQLite format 3\0" + bytes(80), "an SQLite database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(80), "an old Excel or Word file"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
        (b"ARROW1\0\0" + bytes(80), r"an Arrow file \(Feather\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "an HTML page"),
        (bytes(range(256)) * 4, "a binary file, not text"),
    ],
)
@pytest.mark.parametrize("file_name", ["train.tsv", "train.csv", "train.jsonl.gz"])
def test_what_is_no_text_is_refused_by_name(tmp_path, put, content, kind, file_name):
    path = put(tmp_path / file_name, content)
    with pytest.raises(DataError, match=rf"{file_name}: is {kind}") as raised:
        open_dataset(path, "train")
    assert not isinstance(raised.value, BadLinesError)
    with pytest.raises(DataError, match=rf"{file_name}: is {kind}"):
        list(open_queries(path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"text": "a", "labels": ["x"]}]\n', "is one JSON array, not JSON Lines"),
        (b'[\n{"text": "a", "labels": ["x"]}\n]\n', "is one JSON array, not JSON Lines"),
        (b'{\n  "text": "a",\n  "labels": ["x"]\n}\n', "holds JSON objects of several lines each"),
    ],
)
def test_json_that_is_not_in_lines_is_refused_with_the_command_that_converts_it(tmp_path, put, content, problem):
    path = put(tmp_path / "train.json", content)
    with pytest.raises(DataError, match=rf"{problem}\. Convert it: jq -c"):
        open_dataset(path, "train")


@pytest.mark.parametrize("name", NAMES)
@given(content=st.binary(max_size=200), cut=st.integers(1, 60), damage=st.binary(max_size=4), place=st.integers(0, 80))
@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_an_error_that_names_the_file(tmp_path, put, name, content, cut, damage, place):
    packed = bytearray(COMPRESS[name](content))
    packed[place : place + len(damage)] = damage
    path = put(tmp_path / "f", bytes(packed[: -cut or None]))
    refused = path
    try:
        list(open_queries(path, progress=False))
    except DataError as error:
        refused = error.path
    assert refused == path
