"""The clients with servers that refuse, disconnect, stall or send invalid responses."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import suppress
from email.utils import formatdate

import httpx
import pytest

from astec.server.client import (
    AsyncAstecClient,
    ConnectionFailedError,
    DeadlinePassedError,
    Features,
    FieldProblem,
    ForbiddenError,
    InvalidFieldError,
    RetryPolicy,
    StatusError,
    TimedOutError,
    TooManyRequestsError,
    UnauthorizedError,
    UnexpectedAnswerError,
)
from astec.server.client.errors import read_retry_after_s
from tests.server.client.conftest import ANSWER, PATIENCE_S, RESET, Reply, problem

pytestmark = pytest.mark.slow  # clients wait between their attempts

SECRET = "xyzzyplugh"


def test_it_waits_as_long_as_the_server_asks_and_spreads_by_the_backoff(patient, script) -> None:
    server = script(problem(429, Retry_After="3"), problem(429, Retry_After="7"), Reply())
    ranking = patient.connect(server.url, policy={"backoff_s": 0.2}).predict("a")
    assert [prediction.label for prediction in ranking] == ["c"]
    assert patient.clock.slept_s == [3 + 0.5 * 0.2, 7 + 0.5 * 0.4]
    assert len({received.body for received in server.received}) == 1
    assert len(server.received) == 3


def test_it_understands_a_date(patient, script) -> None:
    server = script(problem(503, Retry_After=formatdate(patient.clock.now_s + 12, usegmt=True)), Reply())
    assert len(patient.connect(server.url, policy={"backoff_s": 0}).predict("a")) == 1
    assert patient.clock.slept_s == [12]


def test_without_a_word_it_backs_off_exponentially_up_to_a_limit(patient, script) -> None:
    server = script(*[problem(503)] * 5, Reply())
    policy = {"max_attempts": 6, "backoff_s": 1, "max_backoff_s": 5}
    assert len(patient.connect(server.url, policy=policy).predict("a")) == 1
    assert patient.clock.slept_s == [0.5, 1, 2, 2.5, 2.5]


def test_a_connection_that_breaks_is_made_again(patient, script) -> None:
    server = script(RESET, RESET, Reply())
    assert len(patient.connect(server.url).predict("a")) == 1
    assert len(server.received) == 3


def test_attempts_end_and_the_last_error_is_raised(patient, script) -> None:
    server = script(problem(503), RESET, problem(429, Retry_After="1"))
    with pytest.raises(TooManyRequestsError) as raised:
        patient.connect(server.url, policy={"max_attempts": 3}).predict(SECRET)
    assert len(server.received) == 3
    assert raised.value.retry_after_s == 1
    assert SECRET not in str(raised.value)


def test_where_nobody_listens_it_says_so(patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = patient.connect(url, policy={"max_attempts": 3})
    with pytest.raises(ConnectionFailedError, match="after 3 attempts"):
        client.predict("a")
    assert len(patient.clock.slept_s) == 2
    assert not client.ready()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, StatusError),
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, StatusError),
        (408, StatusError),
        (413, StatusError),
        (422, InvalidFieldError),
        (500, StatusError),
        (502, StatusError),
        (504, DeadlinePassedError),
    ],
)
def test_what_would_fail_again_is_not_asked_again(patient, script, status: int, kind: type[StatusError]) -> None:
    server = script(problem(status, Retry_After="1"))
    with pytest.raises(StatusError) as raised:
        patient.connect(server.url).predict("a")
    assert type(raised.value) is kind
    assert raised.value.problem.status == status
    assert raised.value.problem.title == "Title"
    assert raised.value.problem.detail == "The detail."
    assert len(server.received) == 1


def test_it_does_not_wait_beyond_its_deadline(patient, script) -> None:
    server = script(problem(429, Retry_After="4"))
    with pytest.raises(TooManyRequestsError):
        patient.connect(server.url, deadline_s=10, policy={"max_attempts": 9, "backoff_s": 0}).predict("a")
    assert patient.clock.slept_s == [4, 4]
    assert len(server.received) == 3


def test_an_answer_that_does_not_come_is_not_asked_for_again(connect, script) -> None:
    is_over = threading.Event()
    server = script(Reply(wait_for=lambda: is_over.wait(PATIENCE_S)))
    try:
        with pytest.raises(TimedOutError, match="timeout_s"):
            connect(server.url, timeout_s=0.3).predict("a")
        with pytest.raises(TimedOutError, match="deadline_s"):
            connect(server.url, deadline_s=0.3).predict("a")
        with pytest.raises(TimedOutError, match="timeout_s"):
            connect(server.url, timeout_s=0.3).model()
        assert not connect(server.url, timeout_s=0.3).ready()
        assert len(server.received) <= 4
    finally:
        is_over.set()


async def test_the_async_client_cuts_a_server_off_that_drips(script) -> None:
    """A server whose bytes each arrive in time, but whose response is never complete."""
    has_left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        has_left.set()
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncAstecClient(f"http://127.0.0.1:{port}", deadline_s=0.3) as client:
            with pytest.raises(TimedOutError, match="deadline_s"):
                await client.predict("a")
        await asyncio.wait_for(has_left.wait(), PATIENCE_S)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html>hello</html>", id="no-json"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b"{}", id="no-predictions"),
        pytest.param(b'{"model": {"name": "m", "version": "1"}, "predictions": [1]}', id="no-labels"),
        pytest.param(b'{"model": 1, "predictions": []}', id="no-model"),
    ],
)
def test_what_is_no_answer_is_refused_without_a_quote(connect, script, content: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError) as raised:
        connect(script(Reply(content=content)).url).predict("a")
    assert "hello" not in str(raised.value)


@pytest.mark.parametrize(
    "explanation",
    [None, [], {}, {"tokens": [], "labels": [1]}, {"tokens": [], "labels": [{"parts": 1, "tokens": []}]}],
    ids=["none", "list", "empty", "labels", "parts"],
)
def test_an_answer_without_its_explanation_is_refused(connect, script, explanation: object) -> None:
    content = json.dumps(ANSWER | ({} if explanation is None else {"explanation": explanation})).encode()
    with pytest.raises(UnexpectedAnswerError, match="has no explanation"):
        connect(script(Reply(content=content)).url).explain("a")


def test_neighbours_of_a_server_that_has_none_are_none(connect, script) -> None:
    content = json.dumps(ANSWER | {"explanation": {"tokens": [], "labels": []}}).encode()
    assert connect(script(Reply(content=content)).url).explain("a").neighbours == ()


def test_a_model_is_asked_for_by_name_and_each_ranking_names_its_own(connect, script) -> None:
    results = [{"predictions": ANSWER["predictions"], "model": {"name": name, "version": "1"}} for name in ("a", "b")]
    server = script(Reply(content=json.dumps({"results": results}).encode()), Reply())
    client = connect(server.url)
    assert [ranking.model.name for ranking in client.predict_many(["x", "y"])] == ["a", "b"]
    assert client.predict("x", model="next").model.name == "m"
    asked = [json.loads(received.body) for received in server.received]
    assert asked == [{"queries": ["x", "y"]}, {"query": "x", "model": "next"}]


def test_rankings_that_are_missing_are_noticed(connect, script) -> None:
    content = json.dumps({"model": ANSWER["model"], "results": [ANSWER]}).encode()
    with pytest.raises(UnexpectedAnswerError, match="2 queries were asked, and 1 rankings"):
        connect(script(Reply(content=content)).url).predict_many(["a", "b"])


def test_an_error_without_a_problem_document_is_told_by_its_status(connect, script) -> None:
    with pytest.raises(StatusError, match="502 Bad Gateway") as raised:
        connect(script(Reply(502, content=b"<html>")).url).predict("a")
    assert raised.value.problem.type == "about:blank"


def test_invalid_fields_are_named(connect, script) -> None:
    document = {"title": "Invalid field", "errors": [{"field": "top_k", "message": "too large"}]}
    with pytest.raises(InvalidFieldError, match="top_k: too large") as raised:
        connect(script(Reply(422, content=json.dumps(document).encode())).url).predict("a")
    assert raised.value.problem.errors == (FieldProblem("top_k", "too large"),)


def test_readiness_is_asked_once(connect, script) -> None:
    server = script(problem(503, Retry_After="1"))
    assert connect(server.url).ready() is False
    assert len(server.received) == 1
    with pytest.raises(StatusError):
        connect(script(problem(404)).url).ready()
    assert connect(script(Reply()).url).ready() is True


async def test_as_many_requests_as_allowed_are_under_way_and_no_more(script) -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    three = threading.Barrier(3)

    def meet() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        three.wait(PATIENCE_S)  # Nobody is answered before three wait.
        with lock:
            under_way -= 1
        three.wait(PATIENCE_S)

    content = json.dumps({"model": ANSWER["model"], "results": [ANSWER, ANSWER]}).encode()
    server = script(Reply(content=content, wait_for=meet))
    async with AsyncAstecClient(server.url, max_queries_per_request=2, max_concurrency=3) as client:
        assert len(await client.predict_many(["a"] * 24)) == 24
    assert most == 3
    assert len(server.received) == 12


def test_the_error_of_one_of_many_requests_is_raised_as_it_is(connect, script) -> None:
    server = script(problem(401))
    with pytest.raises(UnauthorizedError):
        connect(server.url, max_queries_per_request=1).predict_many(["a"] * 20)
    assert len(server.received) < 20


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, wait_s: float | None) -> None:
    assert read_retry_after_s(value, lambda: 784111740.0) == wait_s


def test_waits_are_spread_over_all_of_the_backoff() -> None:
    policy = RetryPolicy(backoff_s=1, max_backoff_s=3)
    waits_s = [policy.backoff(attempts) for attempts in (1, 2, 9) for _ in range(200)]
    assert all(0 <= wait_s <= 3 for wait_s in waits_s)
    assert max(waits_s[:200]) <= 1
    assert len(set(waits_s)) > 500


def test_a_timeout_of_the_connection_is_tried_again(patient) -> None:
    """A listening socket whose queue is full, so that the kernel ignores new connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address):
            client = patient.connect(f"http://127.0.0.1:{address[1]}", timeout_s=0.2, policy={"max_attempts": 2})
            with pytest.raises(ConnectionFailedError, match="after 2 attempts"):
                client.predict("a")
    assert len(patient.clock.slept_s) == 1


def test_errors_of_httpx_do_not_come_through(connect, script) -> None:
    server = script(Reply(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ConnectionFailedError) as raised:
        connect(server.url).predict("a")
    assert isinstance(raised.value.__context__, httpx.DecodingError)


def test_what_is_sent(connect, script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTEC_API_KEY", raising=False)
    server = script(Reply())
    connect(f"{server.url}/behind/a/proxy", api_key=SECRET).predict("Größe")
    connect(server.url).predict(Features((3, 17), (0.5, 1.0)), top_k=2, min_score=0.25)
    first, second = server.received
    assert first.path == "/behind/a/proxy/predict"
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert first.headers["content-type"] == "application/json"
    assert json.loads(first.body) == {"query": "Größe"}
    assert second.path == "/predict"
    assert "authorization" not in second.headers
    assert json.loads(second.body) == {
        "query": {"ids": [3, 17], "weights": [0.5, 1.0]},
        "top_k": 2,
        "min_score": 0.25,
    }
