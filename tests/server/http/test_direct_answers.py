"""Predictions that are answered without ASGI, on raw sockets, beside the same server with uvicorn's own protocol."""

import asyncio
import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.artifact.store import Artifact
from tests.server.running_server import FAR_MS, Running, post, running

KEY = b"0123456789abcdef"
GOOD = b'{"query": "shoes", "top_k": 3}'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(GOOD),
    GOOD,
)
CLOSING = post(GOOD, b"Connection: close")


def comparable(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = answer
    timing = re.sub(r"\d+\.\d+", "0", headers.pop("server-timing", ""))
    assert headers.pop("date")
    return status, headers | {"server-timing": timing}, body


AUTHORIZED = b"Authorization: Bearer " + KEY
REQUESTS = {
    "good": post(GOOD, AUTHORIZED),
    "many": post(b'{"queries": ["shoes", "hose"]}', AUTHORIZED),
    "explained": post(b'{"query": "shoes", "explain": true}', AUTHORIZED),
    "features": post(b'{"query": {"ids": [1]}}', AUTHORIZED),
    "long": post(b'{"query": "%b"}' % (b"a" * 200), AUTHORIZED),
    "both": post(b'{"query": "a", "queries": ["b"]}', AUTHORIZED),
    "too-many": post(b'{"queries": ["a", "b", "c", "d", "e"]}', AUTHORIZED),
    "invalid": post(b'{"query": "a", "top_k": 101}', AUTHORIZED),
    "named": post(GOOD, AUTHORIZED, b"X-Request-Id: mine"),
    "named-invalid": post(b"{}", AUTHORIZED, b"X-Request-Id: mine"),
    "named-too-large": post(b" " * 2000, AUTHORIZED, b"X-Request-Id: mine"),
    "not-json": post(b'{"query": "a', AUTHORIZED),
    "not-utf-8": post(b'{"query": "\xff"}', AUTHORIZED),
    "nothing": post(b"", AUTHORIZED),
    "too-large": post(b" " * 2000, AUTHORIZED),
    "announced": post(b"{", AUTHORIZED, length=2000),
    "no-key": post(GOOD),
    "unknown-key": post(GOOD, b"Authorization: Bearer nobody"),
    "byte-order-mark": post(b"\xef\xbb\xbf" + GOOD, AUTHORIZED),
    "gzip": post(gzip.compress(GOOD), AUTHORIZED, b"Content-Encoding: gzip"),
    "cut-off": post(gzip.compress(GOOD)[:-1], AUTHORIZED, b"Content-Encoding: gzip"),
    "brotli": post(GOOD, AUTHORIZED, b"Content-Encoding: br"),
    "query-string": post(GOOD, AUTHORIZED, target=b"/predict?a=b"),
    "other-path": post(GOOD, AUTHORIZED, target=b"/predict/"),
    "get": b"GET /predict HTTP/1.1\r\nHost: t\r\n\r\n",
    "put": post(GOOD, AUTHORIZED).replace(b"POST", b"PUT"),
}
COMPRESSED = ("gzip", "cut-off", "brotli")
REFUSED = ("too-large", "announced", "no-key", "unknown-key", "query-string", "other-path", "get", "put")
THROUGH_ASGI = ("named-too-large", *COMPRESSED, *REFUSED)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"tester:{KEY.decode()}\n")
    path.chmod(0o600)
    return path


async def test_every_answer_is_the_one_that_the_application_gives(described_artifact: Artifact, keys_file) -> None:
    knobs = {"max_body_bytes": 1000, "max_query_chars": 100, "max_queries_per_request": 4, "api_keys_file": keys_file}
    async with (
        running(described_artifact, **knobs) as ours,
        running(described_artifact, "httptools", **knobs) as plain,
    ):
        for name, request in REQUESTS.items():
            before = ours.app.requests
            connection, other = await ours.connect(), await plain.connect()
            answer = comparable(await connection.ask(request))
            assert answer == comparable(await other.ask(request)), name
            assert ours.app.requests - before == (name in THROUGH_ASGI), name

        def counts(server: Running) -> list[str]:
            return [line for line in server.metrics().splitlines() if line.startswith("astec_requests_total")]

        assert counts(ours) == counts(plain)


async def test_the_id_of_a_request_comes_back_once_whichever_way_it_is_answered(described_artifact: Artifact) -> None:
    chunked = CHUNKED.replace(b"Host", b"X-Request-Id: mine\r\nHost")
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        for request in (post(GOOD, b"X-Request-Id: mine"), post(b"{}", b"X-Request-Id: mine"), chunked):
            connection.writer.write(request + HEALTH)
            _, headers, _ = await connection.answer()
            assert headers["x-request-id"] == "mine"
            assert "x-request-id" not in (await connection.answer())[1]
        assert "x-request-id" not in (await connection.ask(post(GOOD)))[1]


async def test_a_rate_limit_holds_and_is_counted(described_artifact: Artifact, keys_file) -> None:
    async with running(described_artifact, api_keys_file=keys_file, rate_limit_qps=0.001, rate_limit_burst=1) as ours:
        connection = await ours.connect()
        assert (await connection.ask(post(GOOD, AUTHORIZED)))[0] == 200
        status, headers, _ = await connection.ask(post(GOOD, AUTHORIZED))
        assert (status, int(headers["retry-after"]) > 1) == (429, True)
        assert 'astec_shed_total{reason="rate_limited"} 1.0' in ours.metrics()
        assert ours.app.requests == 0


async def test_requests_in_one_packet_are_answered_in_order(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        connection.writer.write(post(GOOD) + HEALTH + post(b"{}") + post(GOOD) + HEALTH + CLOSING)
        assert [(await connection.answer())[0] for _ in range(6)] == [200, 200, 422, 200, 200, 200]
        assert await connection.at_end()


async def test_two_invalid_requests_in_one_packet_are_both_answered_directly(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        connection.writer.write(post(b"{}") + post(b"["))
        assert [(await connection.answer())[0] for _ in range(2)] == [422, 400]
        assert ours.app.requests == 0


async def test_a_request_may_be_cut_anywhere(described_artifact: Artifact) -> None:
    request = post(GOOD)
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        whole = comparable(await connection.ask(request))
        for cut in range(1, len(request)):
            connection.writer.write(request[:cut])
            await asyncio.sleep(0.001)
            assert comparable(await connection.ask(request[cut:])) == whole
        assert ours.app.requests == 0


@pytest.mark.parametrize(
    ("request_bytes", "through_asgi", "stays_open"),
    [
        (post(GOOD), 0, True),
        (CLOSING, 0, False),
        (CHUNKED, 1, True),
        (post(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"), 1, False),
        (post(b" " * 5000 + GOOD), 0, True),
    ],
    ids=["usual", "closing", "chunked", "http-1.0", "spaces"],
)
async def test_a_connection_is_kept_as_http_says(
    described_artifact: Artifact, request_bytes: bytes, through_asgi: int, stays_open: bool
) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        status, headers, _ = await connection.ask(request_bytes)
        assert (status, ours.app.requests) == (200, through_asgi)
        assert headers.get("connection") == (None if stays_open else "close")
        if stays_open:
            assert (await connection.ask(HEALTH))[0] == 200
        else:
            assert await connection.at_end()


async def test_who_waits_to_be_asked_for_the_body_is_asked(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        connection.writer.write(post(b"", b"Expect: 100-continue", length=len(GOOD)))
        assert await connection._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await connection.ask(GOOD))[0] == 200


async def test_a_query_that_waits_too_long_gets_504(described_artifact: Artifact) -> None:
    async with running(described_artifact, request_timeout_ms=20) as ours:
        connection = await ours.connect()
        with ours.busy():
            assert (await connection.ask(post(GOOD)))[0] == 504
        assert (ours.app.requests, 'status="504"} 1.0' in ours.metrics()) == (0, True)


async def test_a_client_that_leaves_the_queue_is_not_computed(described_artifact: Artifact) -> None:
    async with running(described_artifact, request_timeout_ms=FAR_MS) as ours:
        first, second = await ours.connect(), await ours.connect()
        with ours.busy():
            first.writer.write(post(GOOD))
            await ours.until("astec_batch_size_count 1.0")
            second.writer.write(post(GOOD))
            await ours.until("astec_queue_length 1.0")
            second.writer.close()
            while len(ours.server.server_state.connections) > 1:
                await asyncio.sleep(0.001)
        assert (await first.answer())[0] == 200
        await ours.until('astec_requests_total{route="/predict",status="499"} 1.0')
        assert 'astec_shed_total{reason="client_left"} 1.0' in ours.metrics()
        assert "astec_batch_size_count 1.0" in ours.metrics()


async def test_a_client_that_leaves_within_its_body_is_counted(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        connection.writer.write(post(GOOD)[:-5])
        while not ours.server.server_state.tasks:
            await asyncio.sleep(0.001)
        connection.writer.close()
        await ours.until('astec_requests_total{route="/predict",status="499"} 1.0')
        assert not ours.server.server_state.tasks


async def test_a_server_that_stops_answers_what_waits_and_closes(described_artifact: Artifact) -> None:
    async with running(described_artifact, request_timeout_ms=FAR_MS) as ours:
        waiting, idle = await ours.connect(), await ours.connect()
        assert (await idle.ask(HEALTH))[0] == 200
        with ours.busy():
            waiting.writer.write(post(GOOD))
            await ours.until("astec_batch_size_count 1.0")
            ours.server.should_exit = True
            assert await idle.at_end()
        status, headers, _ = await waiting.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await waiting.at_end()


async def test_what_outlasts_the_shutdown_is_cut_off_with_an_error(described_artifact: Artifact) -> None:
    async with running(described_artifact, request_timeout_ms=FAR_MS, graceful_s=0) as ours:
        waiting, unfinished = await ours.connect(), await ours.connect()
        with ours.busy():
            waiting.writer.write(post(GOOD))
            unfinished.writer.write(post(GOOD)[:-5])
            await ours.until("astec_batch_size_count 1.0")
            while len(ours.server.server_state.tasks) < 2:
                await asyncio.sleep(0.001)
            ours.server.should_exit = True
            for connection in (waiting, unfinished):
                status, headers, _ = await connection.answer()
                assert (status, headers["connection"]) == (500, "close")
                assert await connection.at_end()
        assert 'astec_requests_total{route="/predict",status="500"} 2.0' in ours.metrics()
        assert 'astec_shed_total{reason="draining"} 1.0' in ours.metrics()


async def test_a_draining_server_closes_after_each_answer(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        assert (await connection.ask(HEALTH))[0] == 200
        ours.server.config.encoded_headers.append((b"connection", b"close"))
        await ours.server.on_tick(0)
        status, headers, _ = await connection.ask(post(GOOD))
        assert (status, headers["connection"], ours.app.requests) == (200, "close", 1)
        assert await connection.at_end()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces=st.lists(st.integers(1, 60), max_size=8), order=st.lists(st.booleans(), min_size=1, max_size=5))
def test_answers_keep_the_order_of_requests_however_they_are_cut(
    described_artifact: Artifact, pieces: list[int], order: list[bool]
) -> None:
    """True stands for a prediction, False for another route, which the application answers."""

    async def check() -> None:
        async with running(described_artifact) as ours:
            connection = await ours.connect()
            sent = b"".join(post(GOOD) if direct else HEALTH for direct in order)
            for size in pieces:
                connection.writer.write(sent[:size])
                sent = sent[size:]
                await asyncio.sleep(0)
            connection.writer.write(sent)
            bodies = [(await connection.answer())[2] for _ in order]
            assert [b"predictions" in body for body in bodies] == order

    asyncio.run(check())
