"""`POST /predict/stream`, in process and over the real server with slow clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.loadtest.bench.serving import ours_command, served

PATIENCE_S = 60.0
HEAD = b"POST /predict/stream HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"


async def stream(client: httpx.AsyncClient, *pieces: bytes) -> list[dict[str, Any]]:
    """Send a body in these pieces, and return the answers."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    response = await client.post("/predict/stream", content=body())
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_line_is_answered_as_the_same_request_is(serve, demo_queries: list[str]) -> None:
    requests = [{"query": query, "top_k": number % 7 + 1} for number, query in enumerate(demo_queries)]
    requests.append({"queries": demo_queries[:100], "min_score": 0.3})
    async with serve() as (_, client):
        answers = await stream(client, b"".join(json.dumps(request).encode() + b"\n" for request in requests))
        alone = [(await client.post("/predict", json=request)).json() for request in requests]
    assert answers == alone


async def test_lines_may_be_bare_strings_blank_cut_anywhere_and_without_an_end(serve) -> None:
    lines = '"running shoes"\r\n\n  \n{"query": "Größe"}\n"yoga mat"'.encode()
    async with serve() as (_, client):
        expected = [
            (await client.post("/predict", json={"query": q})).json() for q in ("running shoes", "Größe", "yoga mat")
        ]
        whole = await stream(client, lines)
        in_bytes = await stream(client, *(lines[at : at + 1] for at in range(len(lines))))
    assert whole == in_bytes == expected


async def test_a_queue_that_is_smaller_than_what_is_read_at_once_takes_it_all(serve) -> None:
    async with serve(queue_capacity=3) as (_, client):
        answers = await stream(client, b'"shoes"\n' * 50 + b'{"queries": ["a", "b", "c"]}\n' * 2)
    assert ["predictions" in answer or len(answer["results"]) == 3 for answer in answers] == [True] * 52


async def test_what_the_model_cannot_answer_fails_alone(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as (app, client):
        predictor = app.state.service._predictor
        rank = predictor.rank

        def rank_but_one(queries: list[str], *arguments: object) -> object:
            if "poison" in queries:
                raise RuntimeError("no")
            return rank(queries, *arguments)

        monkeypatch.setattr(predictor, "rank", rank_but_one)
        answers = await stream(client, b'"shoes"\n' * 3 + b'"poison"\n{}\n' + b'"shoes"\n' * 3)
    assert [answer.get("status", 200) for answer in answers] == [200, 200, 200, 500, 422, 200, 200, 200]
    assert [answer["line"] for answer in answers if "line" in answer] == [4, 5]


async def test_no_line_has_no_answer(serve) -> None:
    async with serve() as (_, client):
        assert await stream(client) == await stream(client, b"\n\n") == []


@pytest.mark.parametrize(
    ("line", "status", "slug"),
    [
        (b"{nonsense", 400, "malformed-json"),
        (b'"no end', 400, "malformed-json"),
        (b'"\xff"', 400, "malformed-json"),
        (b"7", 422, "invalid-field"),
        (b"{}", 422, "invalid-field"),
        (b'{"query": "a", "top_k": 101}', 422, "invalid-field"),
        (b'"' + b"x" * 101 + b'"', 422, "invalid-field"),
        (b'{"queries": ["a", "a", "a"]}', 422, "invalid-field"),
        (b'"' + b"x" * 2000 + b'"', 413, "body-too-large"),
    ],
    ids=["broken", "open-string", "no-utf-8", "number", "empty", "top-k", "long-query", "many-queries", "long-line"],
)
async def test_a_bad_line_gets_a_problem_with_its_number_and_the_stream_goes_on(
    serve, line: bytes, status: int, slug: str
) -> None:
    body = b'"shoes"\n\n' + line + b'\n"boots"\n'
    async with serve(max_query_chars=100, max_queries_per_request=2, max_body_bytes=1000) as (_, client):
        for pieces in ([body], [body[at : at + 100] for at in range(0, len(body), 100)]):
            before, problem, after = await stream(client, *pieces)
            assert "predictions" in before
            assert "predictions" in after
            assert problem["line"] == 3
            assert (problem["status"], problem["type"]) == (status, f"urn:astec:problem:{slug}")
            assert "xxxx" not in json.dumps(problem)


async def test_a_client_that_may_not_ask_gets_a_problem_instead_of_a_stream(serve) -> None:
    async with serve() as (app, client):
        app.state.service.state = "loading"
        response = await client.post("/predict/stream", content=b'"shoes"\n')
        app.state.service.state = "ready"
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")


async def test_streams_have_a_series_of_their_own(serve) -> None:
    async with serve() as (_, client):
        await stream(client, b'"shoes"\n"boots"\n')
        metrics = (await client.get("/metrics")).text
    assert 'astec_requests_total{route="/predict/stream",status="200"} 1.0' in metrics
    assert "astec_queries_total 2.0" in metrics


@contextmanager
def listening(artifact: Path, *flags: object) -> Iterator[tuple[str, int]]:
    """Host and port of a real server with one worker."""
    with served(ours_command(artifact, 1, *map(str, flags))) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        yield host, int(port)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def lines_of(received: bytes) -> list[dict[str, Any]]:
    """The lines of a whole response with chunked transfer coding."""
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    content = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        content += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    assert int(size, 16) == 0, "the end of the response is there"
    return [json.loads(line) for line in content.splitlines()]


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def send_until_stuck(connection: socket.socket, content: memoryview) -> int:
    """Send until the other side takes no more, and return the number of bytes sent."""
    sent = 0
    try:
        while sent < len(content):
            sent += connection.send(content[sent : sent + (1 << 16)])
    except TimeoutError:
        pass
    return sent


@pytest.mark.e2e
def test_a_client_that_does_not_read_stops_the_reading_and_loses_nothing(demo_artifact: Path) -> None:
    num_lines = 8000
    padding = " " * 3000
    lines = [
        json.dumps({"query": f"cheap running shoes{padding}", "top_k": number % 100 + 1}).encode() + b"\n"
        for number in range(num_lines)
    ]
    body = memoryview(HEAD + b"".join(map(chunk, lines)) + chunk(b""))
    with listening(demo_artifact) as (host, port), socket.socket() as connection:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
        connection.connect((host, port))
        connection.settimeout(1.5)
        sent = send_until_stuck(connection, body)
        assert 0 < sent < len(body)

        connection.settimeout(PATIENCE_S)
        rest = threading.Thread(target=connection.sendall, args=(body[sent:],))
        rest.start()
        answers = lines_of(read_all(connection))
        rest.join()
    most = max(len(answer["predictions"]) for answer in answers)
    assert most > 1
    assert [len(answer["predictions"]) for answer in answers] == [min(n % 100 + 1, most) for n in range(num_lines)]


@pytest.mark.e2e
def test_a_stream_lasts_as_long_as_it_goes_on_and_no_longer(demo_artifact: Path) -> None:
    with (
        listening(demo_artifact, "--client-timeout-s", 2) as (host, port),
        socket.create_connection((host, port)) as it,
    ):
        it.settimeout(PATIENCE_S)
        it.sendall(HEAD)
        received = b""
        for number in range(1, 9):
            it.sendall(chunk(b'"running shoes"\n'))
            while received.count(b'"predictions"') < number:  # Each line is answered before the next is sent.
                received += it.recv(1 << 16)
            time.sleep(0.5)
        assert read_all(it) == b"", "after a while without a line the connection ends"


@pytest.mark.e2e
def test_a_stream_needs_a_key_and_each_line_is_charged(demo_artifact: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ads:{'0123' * 8}\n")
    keys.chmod(0o600)
    flags = ["--api-keys-file", keys, "--rate-limit-qps", 1 / 3600, "--rate-limit-burst", 3]
    with listening(demo_artifact, *flags) as (host, port):
        url, body = f"http://{host}:{port}/predict/stream", b'"shoes"\n' * 5
        refused = httpx.post(url, content=body, timeout=PATIENCE_S)
        answered = httpx.post(url, content=body, headers={"authorization": f"Bearer {'0123' * 8}"}, timeout=PATIENCE_S)
    assert refused.status_code == 401
    answers = [json.loads(line) for line in answered.text.splitlines()]
    assert ["predictions" in answer for answer in answers] == [True, True, True, False, False]
    assert [(answer["line"], answer["status"]) for answer in answers[3:]] == [(4, 429), (5, 429)]
