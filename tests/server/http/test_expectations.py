"""Clients that wait to be asked for the body of their request (`Expect: 100-continue`), on raw sockets."""

import threading

import pytest

from astec.export.artifact.store import Artifact
from tests.server.raw_connection import Connection
from tests.server.running_server import FAR_MS, post, running

GOOD = b'{"query": "shoes", "top_k": 3}'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
INFER = b"/v2/models/described/infer"
UNKNOWN_KEY = b"Authorization: Bearer nobody"
KEY = b"0123456789abcdef"
PATHS = [b"/predict", b"/predict/stream", INFER]


async def refused(connection: Connection, request: bytes) -> int:
    """Return the status of the response to a request, which must be the only one and close the connection."""
    status, headers, _ = await connection.ask(request)
    assert headers["connection"] == "close"
    assert await connection.at_end()
    return status


@pytest.mark.parametrize("target", [b"/predict", INFER])
async def test_a_body_that_announces_too_much_is_never_asked_for(described_artifact: Artifact, target: bytes) -> None:
    async with running(described_artifact, max_body_bytes=1000) as ours:
        head = post(b"", EXPECT, target=target, length=1001)
        assert await refused(await ours.connect(), head) == 413
        # What follows may be the body, or a request of a client that sends no body: nobody could tell.
        assert await refused(await ours.connect(), head + HEALTH) == 413


@pytest.mark.parametrize("expect", [EXPECT, b"expect: 100-Continue", b"Expect: , 100-continue"])
@pytest.mark.parametrize("target", [b"/predict", INFER])
async def test_a_body_within_the_limit_is_asked_for_and_the_connection_goes_on(
    described_artifact: Artifact, target: bytes, expect: bytes
) -> None:
    infer = b'{"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}'
    body = GOOD if target == b"/predict" else infer
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        for _ in range(2):
            connection.writer.write(post(b"", expect, target=target, length=len(body)))
            assert await connection.interim() == CONTINUE
            status, headers, _ = await connection.ask(body)
            assert (status, headers.get("connection")) == (200, None)
        assert (await connection.ask(HEALTH))[0] == 200


async def test_a_body_that_is_there_already_is_not_asked_for(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        for _ in range(2):
            status, headers, _ = await connection.ask(post(GOOD, EXPECT))
            assert (status, headers.get("connection")) == (200, None)


@pytest.mark.parametrize("target", PATHS)
async def test_who_has_no_valid_key_is_not_asked_for_the_body(
    described_artifact: Artifact, tmp_path, target: bytes
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"tester:{KEY.decode()}\n")
    keys.chmod(0o600)
    async with running(described_artifact, api_keys_file=keys) as ours:
        for fields in ([EXPECT], [EXPECT, UNKNOWN_KEY]):
            assert await refused(await ours.connect(), post(b"", *fields, target=target, length=30)) == 401


@pytest.mark.parametrize("target", PATHS)
async def test_a_server_that_loads_its_model_asks_for_no_body(described_artifact: Artifact, target: bytes) -> None:
    async with running(described_artifact) as ours:
        ours.app.app.state.service.state = "loading"
        assert await refused(await ours.connect(), post(b"", EXPECT, target=target, length=30)) == 503
        ours.app.app.state.service.state = "ready"


async def test_no_body_is_asked_for_of_an_unknown_path(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        assert await refused(await ours.connect(), post(b"", EXPECT, target=b"/nowhere", length=30)) == 404


async def test_a_full_queue_asks_for_no_body(described_artifact: Artifact) -> None:
    async with running(described_artifact, queue_capacity=1, request_timeout_ms=FAR_MS) as ours:
        first, second = await ours.connect(), await ours.connect()
        with ours.busy():
            first.writer.write(post(GOOD))
            await ours.until("astec_batch_size_count 1.0")
            second.writer.write(post(GOOD))
            await ours.until("astec_queue_length 1.0")
            assert await refused(await ours.connect(), post(b"", EXPECT, length=30)) == 429
        assert [(await connection.answer())[0] for connection in (first, second)] == [200, 200]


async def test_a_stream_is_asked_for_before_its_response_begins(described_artifact: Artifact) -> None:
    line = b'"shoes"\n'
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        connection.writer.write(post(b"", EXPECT, target=b"/predict/stream", length=len(line)))
        assert await connection.interim() == CONTINUE
        connection.writer.write(line)
        head = await connection.interim()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"predictions"' in await connection.rest_of_chunks()


@pytest.mark.parametrize("expect", [b"Expect: 200-ok", b"Expect: 100-continue, tea", b"Expect: a\r\nExpect: b"])
async def test_any_other_expectation_gets_417(described_artifact: Artifact, expect: bytes) -> None:
    async with running(described_artifact) as ours:
        assert await refused(await ours.connect(), post(GOOD, expect) + HEALTH) == 417
        assert 'astec_requests_total{route="other",status="417"} 1.0' in ours.metrics()


async def test_an_unknown_expectation_behind_an_unanswered_request_ends_the_connection_after_its_answer(
    described_artifact: Artifact,
) -> None:
    async with running(described_artifact, request_timeout_ms=FAR_MS) as ours:
        connection = await ours.connect()
        with ours.busy():
            connection.writer.write(post(GOOD))
            await ours.until("astec_batch_size_count 1.0")
            connection.writer.write(post(GOOD, b"Expect: tea"))
        assert (await connection.answer())[0] == 200
        assert await connection.at_end()


async def test_http_1_0_knows_no_expectations(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        for expect in (EXPECT, b"Expect: tea"):
            connection = await ours.connect()
            head, _, body = post(GOOD, expect).replace(b"HTTP/1.1", b"HTTP/1.0").partition(b"\r\n\r\n")
            connection.writer.write(head + b"\r\n\r\n")
            threading.Event().wait(0.01)
            assert (await connection.ask(body))[0] == 200
            assert await connection.at_end()


async def test_an_upgrade_that_is_ignored_leaves_the_expectation(described_artifact: Artifact) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
    async with running(described_artifact, max_body_bytes=1000) as ours:
        assert await refused(await ours.connect(), post(b"", upgrade, EXPECT, length=1001)) == 413
