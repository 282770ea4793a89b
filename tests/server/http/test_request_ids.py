"""Which ids of clients are kept, and that others are unlike each other."""

from __future__ import annotations

import re

import pytest

from astec.server.http.request_ids import MAX_CHARS, echo_of, kept_or_made, make_id, sent_id

MADE = re.compile(rb"[0-9a-f]{32}")


@pytest.mark.parametrize("sent", [b"7", b"a" * MAX_CHARS, b"2f1c-9_0.~:/+=@", b"4bf92f3577b34da6a3ce929d0e0e4736"])
def test_an_id_of_a_client_is_kept(sent: bytes) -> None:
    assert kept_or_made(sent) == sent
    assert echo_of([(b"host", b"t"), (b"x-request-id", sent)]) == [(b"x-request-id", sent)]


@pytest.mark.parametrize(
    "sent", [b"", b"a" * (MAX_CHARS + 1), b"a b", b'"', b"a\r\nb", b"a\n", b"\xff", b"a,b", b"\x00"]
)
def test_another_one_takes_the_place_of_an_id_that_is_too_long_or_has_other_characters(sent: bytes) -> None:
    assert MADE.fullmatch(kept_or_made(sent))


def test_a_request_without_an_id_has_none() -> None:
    assert sent_id([(b"host", b"t")]) == b""
    assert echo_of([]) == []


def test_ids_that_are_made_differ() -> None:
    assert len({make_id() for _ in range(1000)}) == 1000
