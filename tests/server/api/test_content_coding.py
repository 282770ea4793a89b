"""Compressed request bodies: decoders, and every endpoint that takes a body."""

import gzip
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astec.server.api.content_coding import CODINGS, MAX_PIECE_BYTES, decoder_of
from astec.server.api.request_body import read_body
from astec.server.errors import BodyTooLargeError, DamagedContentError, UnsupportedCodingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = b'{"query": "running shoes", "top_k": 3}'
BOMB_BYTES = 50_000_000
LIMIT_BYTES = 100_000
INFER = "/v2/models/described/infer"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}


def decoded(coding: str, *parts: bytes) -> list[bytes]:
    decoder = decoder_of([(b"content-encoding", coding.encode())])
    pieces = [piece for part in parts for piece in decoder.decode(part)]
    decoder.finish()
    return pieces


def cut(content: bytes, at: int) -> Iterator[bytes]:
    for begin in range(0, len(content), at):
        yield content[begin : begin + at]


@pytest.mark.parametrize("coding", COMPRESS)
@given(content=st.binary(max_size=1000).map(lambda content: content * 300), at=st.integers(1, 1000))
def test_what_was_compressed_comes_back_however_it_is_cut(coding: str, content: bytes, at: int) -> None:
    compressed = COMPRESS[coding](content)
    assert b"".join(decoded(coding, *cut(compressed, at))) == content
    assert b"".join(decoded(coding, *cut(compressed * 3, at))) == content * 3


@pytest.mark.parametrize("coding", COMPRESS)
def test_what_ends_early_or_goes_on_with_something_else_is_damaged(coding: str) -> None:
    compressed = COMPRESS[coding](GOOD)
    # Zstandard need not have a checksum.
    changed = [compressed[:-9] + b"123456789"] * (coding != "zstd")
    for broken in (compressed[:-1], compressed[:5], compressed + b"more", GOOD, *changed):
        with pytest.raises(DamagedContentError, match=coding):
            decoded(coding, broken)


@pytest.mark.parametrize("coding", COMPRESS)
def test_all_that_was_sent_is_decoded_before_more_is_sent(coding: str) -> None:
    """A client of a stream waits for the answer to its last line, whose size may be that of a piece."""
    for size in (1, 100, MAX_PIECE_BYTES, MAX_PIECE_BYTES + 1, 2 * MAX_PIECE_BYTES, 1_000_000):
        content = random.Random(size).randbytes(50) * (size // 50) + b"x" * (size % 50)
        if coding == "zstd":
            stream = zstd.ZstdCompressor()
            sent = stream.compress(content) + stream.flush(stream.FLUSH_BLOCK)
        else:
            compressor = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
            sent = compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)
        decoder = decoder_of([(b"content-encoding", coding.encode())])
        assert b"".join(decoder.decode(sent)) == content


@pytest.mark.parametrize("coding", COMPRESS)
def test_a_bomb_expands_in_small_pieces(coding: str) -> None:
    total = 0
    decoder = decoder_of([(b"content-encoding", coding.encode())])
    for piece in decoder.decode(COMPRESS[coding](b" " * BOMB_BYTES)):
        assert len(piece) <= MAX_PIECE_BYTES
        total += len(piece)
    assert total == BOMB_BYTES


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(DamagedContentError, match="memory"):
        decoded("zstd", compressor.compress(GOOD * 1000) + compressor.flush())


@pytest.mark.parametrize("coding", COMPRESS)
async def test_a_bomb_is_refused_at_the_limit_and_takes_no_memory(coding: str) -> None:
    bomb = COMPRESS[coding](b" " * BOMB_BYTES)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": bomb}

    scope = {"type": "http", "headers": [(b"content-encoding", coding.encode())]}
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            await read_body(scope, receive, LIMIT_BYTES)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < BOMB_BYTES / 5


async def test_compressed_bytes_count_too(serving, described_artifact) -> None:
    """Members without content expand to nothing, so that only their own bytes can be counted."""
    empty_members = gzip.compress(b"") * (LIMIT_BYTES // 20 + 1)

    async def pieces():
        for begin in range(0, len(empty_members), 1000):
            yield empty_members[begin : begin + 1000]

    async with serving(described_artifact)(max_body_bytes=LIMIT_BYTES) as (_, client):
        response = await client.post("/predict", content=pieces(), headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413


@pytest.mark.parametrize("coding", COMPRESS)
async def test_every_endpoint_answers_a_compressed_body_as_the_same_body(
    serving, described_artifact, coding: str
) -> None:
    infer = json.dumps({"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": ["shoes"]}]}).encode()
    async with serving(described_artifact)() as (_, client):
        for path, body in (("/predict", GOOD), ("/predict/stream", b'"shoes"\n\n"hose"\n{'), (INFER, infer)):
            plain = await client.post(path, content=body)
            coded = {"Content-Encoding": coding}
            answer = await client.post(path, content=COMPRESS[coding](body), headers=coded)
            assert (answer.status_code, answer.content) == (200, plain.content), path


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip ", "identity, gzip", "gzip,"])
async def test_a_coding_may_be_named_in_several_ways(serving, described_artifact, coding: str) -> None:
    async with serving(described_artifact)() as (_, client):
        answer = await client.post("/predict", content=gzip.compress(GOOD), headers={"Content-Encoding": coding})
        plain = await client.post("/predict", content=GOOD, headers={"Content-Encoding": "identity"})
    assert (answer.status_code, answer.content) == (200, plain.content)


def detail_of(response: httpx.Response) -> str:
    problem = response.json()
    return problem["error"] if "error" in problem else problem["detail"]


@pytest.mark.parametrize("path", ["/predict", "/predict/stream", INFER])
async def test_another_coding_gets_415_with_those_that_are_decoded(serving, described_artifact, path: str) -> None:
    async with serving(described_artifact)() as (_, client):
        for coding, complaint in (
            ("br", "The content coding 'br' is not supported."),
            ("gzip, gzip", "The body has 2 content codings; the limit is one."),
            ("br, deflate", "The body has 2 content codings; the limit is one."),
            ("é" * 100, r"The content coding '\xe9"),
        ):
            header = [(b"Content-Encoding", coding.encode("latin-1"))]
            response = await client.post(path, content=b"anything", headers=header)
            assert response.status_code == 415
            assert response.headers["accept-encoding"] == ", ".join(CODINGS)
            assert detail_of(response).startswith(complaint)
            assert detail_of(response).endswith(f"without Content-Encoding, or as {' or '.join(CODINGS)}.")


def test_two_headers_are_two_codings() -> None:
    with pytest.raises(UnsupportedCodingError, match="2 content codings"):
        decoder_of([(b"content-encoding", b"gzip"), (b"a", b"b"), (b"content-encoding", b"gzip")])


@pytest.mark.parametrize("path", ["/predict", INFER])
async def test_a_damaged_body_gets_400(serving, described_artifact, path: str) -> None:
    async with serving(described_artifact)() as (_, client):
        for body in (GOOD, gzip.compress(GOOD)[:-1], gzip.compress(GOOD) + GOOD):
            response = await client.post(path, content=body, headers={"Content-Encoding": "gzip"})
            assert response.status_code == 400
            assert "gzip" in detail_of(response)
            assert "shoes" not in response.text


@pytest.mark.parametrize("path", ["/predict", INFER])
async def test_the_limit_is_that_of_the_decoded_body(serving, described_artifact, path: str) -> None:
    coded = {"Content-Encoding": "gzip"}
    async with serving(described_artifact)(max_body_bytes=LIMIT_BYTES) as (_, client):
        within = await client.post(path, content=gzip.compress(b" " * LIMIT_BYTES), headers=coded)
        beyond = await client.post(path, content=gzip.compress(b" " * (LIMIT_BYTES + 1)), headers=coded)
    assert (within.status_code, beyond.status_code) == (400, 413)
    assert str(LIMIT_BYTES) in detail_of(beyond)


async def test_a_stream_tells_the_line_where_it_cannot_be_decoded_further(serving, described_artifact) -> None:
    lines = b'"shoes"\n"hose"\n"ga'
    cut_off = gzip.compress(lines + b'rden"\n')[:-12]
    async with serving(described_artifact)() as (_, client):
        response = await client.post("/predict/stream", content=cut_off, headers={"Content-Encoding": "gzip"})
    *answers, problem = [json.loads(line) for line in response.text.splitlines()]
    assert ["predictions" in answer for answer in answers] == [True] * len(answers)
    assert (problem["line"], problem["status"]) == (len(answers) + 1, 400)
    assert problem["type"] == "urn:astec:problem:damaged-content"


async def test_a_line_of_a_compressed_stream_has_the_limit_of_a_line(serving, described_artifact) -> None:
    lines = b'"shoes"\n"' + b"a" * BOMB_BYTES + b'"\n"hose"\n'
    async with serving(described_artifact)(max_body_bytes=LIMIT_BYTES) as (_, client):
        response = await client.post(
            "/predict/stream", content=gzip.compress(lines), headers={"Content-Encoding": "gzip"}
        )
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [answer.get("status", 200) for answer in answers] == [200, 413, 200]


MARK = b"\xef\xbb\xbf"


async def test_a_byte_order_mark_before_json_is_ignored(serving, described_artifact) -> None:
    infer = b'{"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": ["shoes"]}]}'
    several = b'{"queries": ["shoes", "hose"]}'
    async with serving(described_artifact)() as (_, client):
        for path, body in (
            ("/predict", GOOD),
            ("/predict", several),
            ("/predict/stream", b'"shoes"\n"hose"\n'),
            ("/predict/stream", GOOD + b"\n"),
            ("/predict/stream", b'\n"shoes"'),
            (INFER, infer),
        ):
            plain, marked = await client.post(path, content=body), await client.post(path, content=MARK + body)
            assert (marked.status_code, marked.content) == (200, plain.content), (path, body)
        assert (await client.post("/predict", content=MARK + MARK + GOOD)).status_code == 400
        elsewhere = await client.post("/predict/stream", content=b'"shoes"\n' + MARK + b'"hose"')
    assert [json.loads(line).get("status", 200) for line in elsewhere.text.splitlines()] == [200, 400]
