"""Heads that are not parsed again."""

from pathlib import Path
from typing import Any

import pytest

from astec.export.artifact.store import Artifact
from astec.server.http import known_heads
from astec.server.http.known_heads import Head, KnownHeads
from tests.server.http.test_direct_answers import AUTHORIZED, GOOD, HEALTH, comparable, keys_file
from tests.server.running_server import FAR_MS, Running, post, running

__all__ = ["keys_file"]
HEAD = b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n"
PARSED = Head(b"POST", b"/predict", [(b"host", b"t"), (b"content-length", b"4")], 4)


def test_a_kept_head_is_found_with_another_body() -> None:
    heads = KnownHeads()
    assert heads.split(HEAD + b"body") is None
    heads.keep(HEAD + b"body", PARSED)
    assert heads.split(HEAD + b"4321") == (PARSED, b"4321")


@pytest.mark.parametrize(
    "data", [HEAD, HEAD + b"bod", HEAD + b"body\r\n", HEAD + b"body" + HEAD, HEAD[:-2], b"", b"\r"]
)
def test_what_is_not_exactly_one_request_is_neither_kept_nor_found(data: bytes) -> None:
    heads = KnownHeads()
    heads.keep(data, PARSED)
    assert len(heads) == 0
    heads.keep(HEAD + b"body", PARSED)
    assert heads.split(data) is None


def test_the_heads_that_are_kept_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "_MOST_HEADS", 3)
    heads = KnownHeads()
    heads.keep(b"a" * known_heads._MOST_BYTES + HEAD + b"body", PARSED)
    assert len(heads) == 0
    lengths = []
    for name in b"abcdefg":
        heads.keep(bytes([name]) + HEAD + b"body", PARSED)
        lengths.append(len(heads))
    assert lengths == [1, 2, 3, 1, 2, 3, 1]


def only_connection(server: Running) -> Any:
    (connection,) = server.server.server_state.connections
    return connection


async def test_a_repeated_head_is_not_parsed_again(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        whole = comparable(await connection.ask(post(GOOD, b"X-Repeated: yes")))
        only_connection(ours).parser = None
        for _ in range(3):
            assert comparable(await connection.ask(post(GOOD, b"X-Repeated: yes"))) == whole
        assert (await connection.ask(post(b"{" + b" " * (len(GOOD) - 2) + b"}", b"X-Repeated: yes")))[0] == 422
        assert ours.app.requests == 0
        assert 'astec_requests_total{route="/predict",status="200"} 4.0' in ours.metrics()


async def test_known_and_other_requests_follow_one_another(described_artifact: Artifact) -> None:
    good, many = post(GOOD), post(b'{"queries": ["shoes"]}')
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        for request, status in [(good, 200), (HEALTH, 200), (good, 200), (many, 200), (post(b"{}"), 422), (good, 200)]:
            assert (await connection.ask(request))[0] == status
        for several in (good + HEALTH + good, good + many, HEALTH + good):
            connection.writer.write(several)
            for _ in range(several.count(b"HTTP/1.1")):
                assert (await connection.answer())[0] == 200
        connection.writer.write(good[:30])
        await ours.until("astec_queue_length 0.0")
        assert (await connection.ask(good[30:]))[0] == 200
        assert (await connection.ask(good))[0] == 200


async def test_a_known_head_is_checked_anew(described_artifact: Artifact, keys_file: Path) -> None:
    async with running(described_artifact, api_keys_file=keys_file, rate_limit_qps=0.001, rate_limit_burst=2) as ours:
        connection = await ours.connect()
        statuses = [(await connection.ask(post(GOOD, AUTHORIZED)))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        ours.app.app.state.service.state = "stopping"
        assert (await connection.ask(post(GOOD, AUTHORIZED)))[0] == 503


async def test_a_known_head_is_refused_where_the_queue_is_full(described_artifact: Artifact) -> None:
    async with running(described_artifact, queue_capacity=1, request_timeout_ms=FAR_MS) as ours:
        connections = [await ours.connect() for _ in range(3)]
        assert (await connections[0].ask(post(GOOD)))[0] == 200
        with ours.busy():
            connections[0].writer.write(post(GOOD))
            await ours.until("astec_batch_size_count 2.0")
            connections[1].writer.write(post(GOOD))
            await ours.until("astec_queue_length 1.0")
            assert (await connections[2].ask(post(GOOD)))[0] == 429
        assert [(await connection.answer())[0] for connection in connections[:2]] == [200, 200]


async def test_requests_share_the_timer_that_closes_an_idle_connection(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        assert (await connection.ask(post(GOOD)))[0] == 200
        protocol = only_connection(ours)
        timer = protocol.timeout_keep_alive_task
        assert (await connection.ask(post(GOOD)))[0] == 200
        assert protocol.timeout_keep_alive_task is timer
        timer.cancel()
        protocol.timeout_keep_alive_handler()  # As after the timeout since the first request.
        assert (await connection.ask(post(GOOD)))[0] == 200
        protocol.timeout_keep_alive = 0
        protocol.timeout_keep_alive_handler()
        assert await connection.at_end()
