"""Any bytes are read as rows or raise an error that names the file; no other error is raised, and memory is limited."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bag
from astec.export.readers import BadLinesError, DataError, Row, open_dataset, open_queries

pytestmark = pytest.mark.slow

FUZZED = settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = st.sampled_from(
    [
        *(
            b"\n",
            b"\r\n",
            b"\t",
            b";",
            b" ",
            b":",
            b",",
            b"\0",
            b"\x0b",
            b"\x1c",
            b"\xef\xbb\xbf",
            b"\xff",
            b"\xc2\x85",
        ),
        *(b"__label__", b"__label__x ", b"{", b"}", b"[", b"]", b'"', b'"text": ', b'"labels": ', b"\\ud800", b"null"),
        *(b"1 2 3\n", b"2 2\n", b"0:1", b"1:2.5", b"1:1e39", b"1:nan", b"-1:1", b"9" * 18, b"9" * 5_000, b"1,2 0:1"),
        *(b'{"text": "a", "labels": ["x"]}\n', b"red shoes\tshoes;sale\n", b"__label__x red shoes\n", b"1 0:1 1:2\n"),
        *("\u0663:1".encode(), "café".encode(), b"\x1f\x8b", b"\x1f\x8b\x08\x00"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "labels"]), inner),
    max_leaves=6,
)
JSON_LINES = st.lists(JSON.map(lambda value: json.dumps(value).encode()), max_size=5).map(b"\n".join)
CONTENTS = st.lists(PIECES | st.binary(max_size=8), max_size=30).map(b"".join) | JSON_LINES
Read = Callable[[Path], list[object]]


def read_rows(path: Path) -> list[object]:
    return list(open_dataset(path, "train").rows(progress=False))


def read_good_rows(path: Path) -> list[object]:
    return list(open_dataset(path, "train").rows(progress=False, skip_bad_lines=True))


def read_queries(path: Path) -> list[object]:
    return list(open_queries(path, progress=False))


READERS = [read_rows, read_good_rows, read_queries]


def is_read_or_refused(read: Read, path: Path) -> None:
    """Read the file; any other error fails the test."""
    refusal: DataError | None = None
    entries: list[object] = []
    try:
        entries = read(path)
    except DataError as error:
        refusal = error
    assert all(isinstance(entry, Row | Bag | str) for entry in entries)
    if refusal is not None:
        assert refusal.path.parent == path.parent
        assert f"{refusal.path}:" in str(refusal)
        assert refusal.line is not None or not isinstance(refusal, BadLinesError)


@pytest.mark.parametrize("read", READERS)
@FUZZED
@given(content=CONTENTS)
def test_any_bytes(tmp_path: Path, read: Read, content: bytes) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    is_read_or_refused(read, path)


@pytest.mark.parametrize("read", READERS)
@FUZZED
@given(content=CONTENTS, begin=st.integers(0, 60), damage=st.binary(max_size=6), end=st.integers(0, 200))
def test_any_bytes_in_gzip(tmp_path: Path, read: Read, content: bytes, begin: int, damage: bytes, end: int) -> None:
    packed = bytearray(gzip.compress(content, mtime=0))
    packed[begin : begin + len(damage)] = damage
    path = tmp_path / "train.txt.gz"
    path.write_bytes(packed[:end] if end % 2 else packed)
    is_read_or_refused(read, path)


@pytest.mark.parametrize("read", READERS)
@FUZZED
@given(features=CONTENTS, labels=CONTENTS, names=CONTENTS)
def test_any_bytes_in_either_half_of_a_pair(
    tmp_path: Path, read: Read, features: bytes, labels: bytes, names: bytes
) -> None:
    path = tmp_path / "trn_X_Xf.txt"
    path.write_bytes(b"2 3\n" + features)
    (tmp_path / "trn_X_Y.txt").write_bytes(b"2 2\n" + labels)
    (tmp_path / "Y.txt").write_bytes(names)
    is_read_or_refused(read, path)


MEMBER = gzip.compress(bytes(8 << 20), mtime=0)


@pytest.mark.parametrize("read", READERS)
def test_a_line_that_gzip_makes_endless_is_given_up_early(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(64 * MEMBER)  # half a gigabyte of one line
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"train\.txt\.gz:1: the line is longer than 16 MiB"):
            read(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 << 20


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b" " * 1_000_000 + b"x", "is not a feature id"),
        (b"1 " + b"0:1 " * 250_000 + b"x", "is not a feature id"),
        (b"1 " + b"0:" + b"1" * 1_000_000 + b"x", "is not a feature id"),
        (b",".join([b"1"] * 500_000) + b"; 0:1", "is not a list of label ids"),
        (b"1 " + b" ".join(b"%d:1" % i for i in [*range(150_000), 149_999]), "feature id 149999 occurs twice"),
    ],
    ids=["spaces", "pairs", "digits", "labels", "twice"],
)
def test_a_long_line_that_is_almost_right_takes_no_square_of_its_length(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    """With quadratic time, each of these would take hours, and the test would not end."""
    path = tmp_path / "train.txt"
    path.write_bytes(b"3 200000 2\n1 0:1\n1 0:1\n" + line + b"\n")
    with pytest.raises(BadLinesError) as caught:
        read_rows(path)
    assert caught.value.line == 4
    assert problem in caught.value.problem
