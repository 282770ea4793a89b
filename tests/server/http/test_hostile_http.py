"""A real server against clients that violate HTTP, on raw sockets."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from astec.server.http.protocol import MAX_HEAD_BYTES

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
MAX_BODY_BYTES = 100_000
SECRET = "xyzzyplugh"
GOOD = b'POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 14\r\n\r\n{"query": "a"}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: t\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Target(NamedTuple):
    host: str
    port: int
    log: Path
    has_access_log: bool

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@pytest.fixture(scope="module", params=["direct", "access-log"])
def target(
    request: pytest.FixtureRequest, demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A server that answers usual predictions without ASGI, and one that does not, because it has an access log."""
    has_access_log = request.param == "access-log"
    log = tmp_path_factory.mktemp("hostile") / "stderr"
    flags = ["--port", 0, "--workers", 1, "--client-timeout-s", 1, "--keep-alive-s", 5]
    flags += ["--max-body-bytes", MAX_BODY_BYTES]
    arguments = [demo_artifact, *flags, *["--access-log"] * has_access_log, "--log-level", "debug"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "astec.server", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            announcement = process.stdout.readline()
            address = re.search(r"http://([\d.]+):(\d+)", announcement)
            assert address, announcement + log.read_text()
            yield Target(address[1], int(address[2]), log, has_access_log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def all_of(connection: socket.socket) -> bytes:
    """Return all bytes that arrive until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass  # The server closed before it had read everything that was sent.
    return received


def answers_in(received: bytes) -> list[Answer]:
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        answers.append(Answer(int(status_line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


def problem_of(answer: Answer) -> dict:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["status"] == answer.status
    return problem


def ask(target: Target, *pieces: bytes) -> list[Answer]:
    """Send the pieces, and return all responses until the server closes the connection."""
    with closing(target.connect()) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It answers before it has heard all.
        return answers_in(all_of(connection))


def assert_well(target: Target) -> None:
    assert httpx.post(f"{target.url}/predict", json={"query": "a"}, timeout=PATIENCE_S).status_code == 200


def first_of(connection: socket.socket) -> Answer:
    """Return the first response, if the server does not close the connection."""
    received = b""
    while True:
        received += connection.recv(65536)
        if b"\r\n\r\n" in received:
            answer = answers_in(received)[0]
            if len(answer.body) == int(answer.headers["content-length"]):
                return answer


def assert_cut_off(connection: socket.socket, piece: bytes) -> None:
    """Send without reading until the server closes the connection, at most 100 MB."""
    try:
        for _ in range(0, 100_000_000, len(piece)):
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return
    raise AssertionError("all of it was taken")


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: t\r\n\r\n",
        HEAD + b"Content-Length: 14\r\nContent-Length: 15\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"A\x00B: c\r\n\r\n",
        HEAD + b"A: b\x00c\r\n\r\n",
        HEAD + b" folded: x\r\n\r\n",
    ],
    ids=[
        "tls",
        "zeros",
        "version",
        "path",
        "two-lengths",
        "negative-length",
        "long-length",
        "length-and-chunked",
        "encoding",
        "name-with-nul",
        "value-with-nul",
        "folded",
    ],
)
def test_what_is_not_http_gets_400_and_the_connection_is_closed(target: Target, request_bytes: bytes) -> None:
    (answer,) = ask(target, request_bytes, GOOD)
    assert answer.status == 400
    assert problem_of(answer)["title"] == "Malformed HTTP"
    assert answer.headers["connection"] == "close"
    assert_well(target)


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n"


@pytest.mark.parametrize("pause_s", [0.0, 0.2], ids=["together", "apart"])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_who_asks_for_an_upgrade_is_answered_in_http_1(target: Target, protocol: bytes, pause_s: float) -> None:
    head, _, body = GOOD.partition(b"\r\n\r\n")
    with closing(target.connect()) as connection:
        connection.sendall(head + b"\r\n" + UPGRADE % protocol + b"\r\n" + body[:5] * (not pause_s))
        time.sleep(pause_s)
        connection.sendall(body[5 * (not pause_s) :] + GOOD.replace(b"Host: t", b"Host: t\r\nConnection: close"))
        answers = answers_in(all_of(connection))
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d\r\n\r\n%b", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
def test_a_body_behind_an_upgrade_is_never_taken_for_requests(target: Target, framing: bytes) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
    head, separator, rest = (framing % (len(smuggled), smuggled)).partition(b"\r\n\r\n")
    with closing(target.connect()) as connection:
        connection.sendall(HEAD + UPGRADE.replace(b"Upgrade,", b"close, Upgrade,") % b"h2c" + head + separator)
        time.sleep(0.2)
        connection.sendall(rest)
        answers = answers_in(all_of(connection))
    assert [answer.status for answer in answers] == [400]
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert b"malformed-json" in answers[0].body


@pytest.mark.parametrize("garbage", [CHUNKED + b"ZZZ\r\n", b"ZZZ\r\n\r\n"], ids=["a-body", "a-head"])
def test_who_was_let_in_before_a_request_that_is_none_is_answered(target: Target, garbage: bytes) -> None:
    with closing(target.connect()) as connection:
        connection.sendall(GOOD + GOOD + garbage)
        answers = answers_in(all_of(connection))
    assert {answer.status for answer in answers} <= {200}
    if garbage.startswith(b"ZZZ"):
        assert len(answers) == 2


def test_a_chunk_that_is_none_gets_400(target: Target) -> None:
    (answer,) = ask(target, CHUNKED, b"nonsense\r\n")
    assert answer.status == 400
    assert_well(target)


@pytest.mark.parametrize("piece_bytes", [1000, 10_000_000], ids=["trickle", "burst"])
@pytest.mark.parametrize(
    ("opening", "filling"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nA: ", b"a"),
        (b"GET / HTTP/1.1\r\nA", b"a"),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        (GOOD + b"GET / HTTP/1.1\r\nA: ", b"a"),
        (CHUNKED + chunk(b'{"query": "a"}') + b"0\r\n", b"A: b\r\n"),
        (CHUNKED + chunk(b'{"query": "a"}') + b"0\r\nA: ", b"b"),
        (CHUNKED + b"1;", b"extension"),
    ],
    ids=["path", "value", "name", "headers", "second-request", "trailers", "trailer", "extension"],
)
def test_a_head_without_end_is_cut_at_its_limit(
    target: Target, opening: bytes, filling: bytes, piece_bytes: int
) -> None:
    with closing(target.connect()) as connection:
        connection.sendall(opening)
        assert_cut_off(connection, filling * (piece_bytes // len(filling)))
    assert_well(target)


def test_a_large_head_gets_431(target: Target) -> None:
    for piece in (b"A: %b\r\n" % (b"a" * MAX_HEAD_BYTES), b"A: b\r\n" * (MAX_HEAD_BYTES // 6)):
        with closing(target.connect()) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n" + piece)
            (answer,) = answers_in(all_of(connection))
        assert answer.status == 431
        assert str(MAX_HEAD_BYTES) in problem_of(answer)["detail"]


@pytest.mark.parametrize("request_line", [b"GET /healthz HTTP/1.1", b"POST /predict HTTP/1.1"])
def test_a_head_that_ends_beyond_the_limit_gets_431(target: Target, request_line: bytes) -> None:
    head = request_line + b"\r\nHost: t\r\nContent-Length: 14\r\nA: " + b"a" * (MAX_HEAD_BYTES + 1000) + b"\r\n\r\n"
    for pieces in ([head + b'{"query": "a"}' + GOOD], [head[:20_000], head[20_000:] + b'{"query": "a"}']):
        (answer,) = ask(target, *pieces)
        assert answer.status == 431
        assert answer.headers["connection"] == "close"


def test_refusals_are_counted(target: Target) -> None:
    def counted(status: int) -> float:
        series = f'astec_requests_total{{route="other",status="{status}"}} '
        lines = httpx.get(f"{target.url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))

    before = [counted(status) for status in (400, 408, 431)]
    ask(target, b"nonsense\r\n\r\n")
    ask(target, HEAD)
    ask(target, HEAD + b"A" * (MAX_HEAD_BYTES + 1))
    assert [counted(status) for status in (400, 408, 431)] == [count + 1 for count in before]


def test_a_head_within_the_limit_is_taken_however_it_comes(target: Target) -> None:
    filler = b"A: %b\r\n" % (b"a" * (MAX_HEAD_BYTES - 1000))
    request = b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" + filler + b"\r\n"
    (whole,) = ask(target, request)
    (halves,) = ask(target, request[:5000], request[5000:])
    assert (whole.status, halves.status) == (200, 200)


def test_hundreds_of_requests_in_one_piece_are_answered_one_by_one(target: Target) -> None:
    last = GOOD.replace(b"Host: t", b"Connection: close")
    answers = ask(target, GOOD * 800 + last)
    assert [answer.status for answer in answers] == [200] * 801


def test_a_body_that_announces_too_much_gets_413_before_it_is_sent(target: Target) -> None:
    with closing(target.connect()) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n{" % (MAX_BODY_BYTES + 1))
        answer = first_of(connection)
    assert answer.status == 413


def test_a_chunked_body_gets_413_at_the_limit(target: Target) -> None:
    with closing(target.connect()) as connection:
        connection.sendall(CHUNKED)
        for _ in range(MAX_BODY_BYTES // 1000 + 1):
            connection.sendall(chunk(b" " * 1000))
        answer = first_of(connection)
    assert answer.status == 413
    assert problem_of(answer)["title"] == "Body too large"


@pytest.mark.parametrize("garbage", [b"more than was announced\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_a_refusal_is_never_taken_for_the_answer_to_the_request_before(target: Target, garbage: bytes) -> None:
    assert {answer.status for answer in ask(target, GOOD + garbage)} <= {200}
    with closing(target.connect()) as connection:
        connection.sendall(GOOD)
        assert first_of(connection).status == 200
        connection.sendall(garbage)
        (answer,) = answers_in(all_of(connection))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"POST /pre", 408),
        (HEAD, 408),
        (HEAD + b"Content-Length: 14\r\n\r\n", 408),
        (HEAD + b'Content-Length: 14\r\n\r\n{"query"', 408),
        (CHUNKED + chunk(b'{"query"'), 408),
        (CHUNKED + chunk(b'{"query": "a"}') + b"0\r\n", 408),
    ],
    ids=["nothing", "line-end", "path", "head", "no-body", "body", "chunk", "trailer"],
)
def test_who_does_not_come_to_an_end_is_closed(target: Target, sent: bytes, status: int | None) -> None:
    answers = ask(target, sent)
    assert [answer.status for answer in answers if answer.status != 408] == []
    if status is not None:
        assert [problem_of(answer)["title"] for answer in answers] == ["Request timeout"]
    assert_well(target)


def test_bytes_that_drip_do_not_win_time(target: Target) -> None:
    with closing(target.connect()) as connection:
        connection.sendall(HEAD + b"Content-Length: 90000\r\n\r\n")
        connection.settimeout(0.2)
        received = b""
        for _ in range(int(PATIENCE_S / 0.2)):
            try:
                connection.sendall(b" ")
                received = connection.recv(65536)
                break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            raise AssertionError("the server still listens")
    assert all(answer.status == 408 for answer in answers_in(received))


def test_who_does_not_take_its_answers_is_cut_off(target: Target) -> None:
    queries = json.dumps({"queries": ["running shoes"] * 200, "top_k": 100}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(queries) + queries
    with closing(target.connect()) as connection:
        assert_cut_off(connection, request)
    assert_well(target)


def test_connections_that_wait_for_their_clients_keep_nobody_else_waiting(target: Target) -> None:
    idle = [target.connect() for _ in range(300)]
    for connection in idle[::2]:
        connection.sendall(HEAD)
    assert_well(target)
    for connection in idle:
        with closing(connection):
            all_of(connection)


def test_nothing_of_a_query_is_logged(target: Target) -> None:
    secret = SECRET.encode()
    for request in (
        b"GET /predict?query=%b HTTP/1.1\r\nConnection: close\r\n\r\n" % secret,
        b"POST /predict?q=%b HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}" % secret,
        HEAD + b'Connection: close\r\nContent-Length: 22\r\n\r\n{"query": "%b"' % secret,
        HEAD + b"Content-Length: 3\r\n\r\n{}%b\r\n\r\n" % secret,
        CHUNKED + b"%b\r\n" % secret,
        b"%b\r\n\r\n" % secret,
        b"GET /healthz HTTP/1.1\r\nUpgrade: %b\r\nConnection: upgrade, close\r\n\r\n" % secret,
        b"GET /healthz HTTP/1.1\r\n%b: %b\r\nAuthorization: Bearer %b\r\nConnection: close\r\n\r\n" % ((secret,) * 3),
    ):
        ask(target, request)
    log = target.log.read_text()
    assert ("GET /predict HTTP/1.1" in log) == target.has_access_log
    assert SECRET not in log
    assert "Traceback" not in log
