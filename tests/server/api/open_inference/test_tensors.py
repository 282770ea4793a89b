"""Tensors as bytes, against the reading and writing of Triton's own client."""

from typing import Any

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from astec.server.api.open_inference.tensors import pack, unpack_int32, unpack_texts

TEXTS = ["", "running shoes", "Größe 42", "日本語", "🎉", "a\x00b", "x" * 70_000]


def test_texts_are_written_as_the_client_reads_them() -> None:
    read = deserialize_bytes_tensor(pack("BYTES", TEXTS))
    assert [text.decode() for text in read] == TEXTS


def test_texts_are_read_as_the_client_writes_them() -> None:
    content = serialize_byte_tensor(np.array(TEXTS, dtype=object)).item()
    assert unpack_texts(content, len(TEXTS)) == TEXTS


@pytest.mark.parametrize(
    ("datatype", "dtype", "elements"),
    [("INT32", "<i4", [1, -1]), ("INT64", "<i8", [2**40, -1]), ("FP32", "<f4", [0.25, 0.0])],
    ids=["INT32", "INT64", "FP32"],
)
def test_numbers_are_little_endian(datatype: Any, dtype: str, elements: list[float]) -> None:
    assert np.frombuffer(pack(datatype, elements), dtype).tolist() == elements


def test_int32_is_read() -> None:
    assert unpack_int32(b"\x05\x00\x00\x00\xff\xff\xff\xff", 2) == [5, -1]


@pytest.mark.parametrize("content", [b"", b"\x05\x00\x00", b"\x05\x00\x00\x00\x00"], ids=["none", "fewer", "more"])
def test_int32_of_another_size_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=f"The tensor has {len(content)} bytes; its shape takes 4"):
        unpack_int32(content, 1)


@pytest.mark.parametrize(
    ("content", "count", "complaint"),
    [
        (b"", 1, "Element 0 ends after the 0 bytes"),
        (b"\x01\x00\x00", 1, "Element 0 ends after the 3 bytes"),
        (b"\x02\x00\x00\x00a", 1, "Element 0 ends after the 5 bytes"),
        (b"\xff\xff\xff\xffa", 1, "Element 0 ends after the 5 bytes"),
        (b"\x01\x00\x00\x00a", 2, "Element 1 ends after the 5 bytes"),
        (b"\x01\x00\x00\x00ab", 1, "The tensor has 6 bytes, but its elements, 1 by the shape, end at 5"),
        (b"\x02\x00\x00\x00\xc3\x28", 1, "Element 0 is not UTF-8"),
        (b"\x03\x00\x00\x00\xed\xa0\x80", 1, "Element 0 is not UTF-8"),
    ],
    ids=["none", "no-length", "cut", "huge", "fewer", "more", "not-utf8", "surrogate"],
)
def test_texts_that_do_not_fit_are_refused(content: bytes, count: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        unpack_texts(content, count)
