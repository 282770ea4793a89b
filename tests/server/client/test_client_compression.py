"""Long bodies are sent compressed, except to a server that refuses them."""

from __future__ import annotations

import gzip
import json

import pytest

from astec.server.client import InvalidFieldError, StatusError
from tests.server.client.conftest import ANSWER, Reply, problem

pytestmark = pytest.mark.slow

LONG, SHORT = ["running shoes"] * 100, ["running shoes"] * 10
OVER_BYTES = 1000
REFUSED = problem(415, Accept_Encoding="identity")


def answer_to(queries: list[str]) -> Reply:
    results = [{"predictions": ANSWER["predictions"]}] * len(queries)
    return Reply(content=json.dumps({"model": ANSWER["model"], "results": results}).encode())


def test_only_long_bodies_are_compressed(connect, script) -> None:
    server = script(answer_to(LONG), answer_to(SHORT))
    client = connect(server.url, compress_over_bytes=OVER_BYTES)
    assert len(client.predict_many(LONG)) == len(LONG)
    assert len(client.predict_many(SHORT)) == len(SHORT)
    long, short = server.received
    assert long.headers["content-encoding"] == "gzip"
    assert len(long.body) < OVER_BYTES
    assert json.loads(gzip.decompress(long.body)) == {"queries": LONG}
    assert "content-encoding" not in short.headers
    assert json.loads(short.body) == {"queries": SHORT}
    assert {received.headers["content-type"] for received in server.received} == {"application/json"}


def test_by_default_a_query_of_usual_length_is_not_and_ten_thousand_words_are(connect, script) -> None:
    server = script(Reply())
    client = connect(server.url)
    for query in ("cheap running shoes", "shoes " * 10_000):
        client.predict(query)
    assert ["content-encoding" in received.headers for received in server.received] == [False, True]


def test_none_is_never(connect, script) -> None:
    server = script(Reply())
    connect(server.url, compress_over_bytes=None).predict("shoes " * 10_000)
    assert "content-encoding" not in server.received[0].headers


def test_a_server_that_refuses_them_gets_plain_ones_from_then_on(patient, script) -> None:
    server = script(REFUSED, answer_to(LONG))
    client = patient.connect(server.url, compress_over_bytes=OVER_BYTES)
    for _ in range(2):
        assert len(client.predict_many(LONG)) == len(LONG)
    refused, again, later = server.received
    assert refused.headers["content-encoding"] == "gzip"
    assert gzip.decompress(refused.body) == again.body == later.body
    assert not any("content-encoding" in received.headers for received in (again, later))
    assert patient.clock.slept_s == []  # The refusal is no overload.


def test_attempts_of_a_refused_body_count_with_the_plain_ones(patient, script) -> None:
    server = script(problem(503), REFUSED, problem(503), problem(503))
    client = patient.connect(server.url, compress_over_bytes=OVER_BYTES, policy={"max_attempts": 4})
    with pytest.raises(StatusError) as raised:
        client.predict_many(LONG)
    assert raised.value.problem.status == 503
    encodings = [received.headers.get("content-encoding") for received in server.received]
    assert encodings == ["gzip", "gzip", None, None]


def test_a_refusal_of_a_plain_body_is_an_error(connect, script) -> None:
    server = script(REFUSED)
    with pytest.raises(StatusError) as raised:
        connect(server.url).predict("a")
    assert raised.value.problem.status == 415
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [400, 422])
def test_no_other_refusal_is_a_reason_to_send_it_again(connect, script, status: int) -> None:
    server = script(problem(status))
    with pytest.raises(StatusError) as raised:
        connect(server.url, compress_over_bytes=0).predict("a")
    assert isinstance(raised.value, InvalidFieldError) == (status == 422)
    assert len(server.received) == 1


def test_a_limit_below_zero_is_an_error(connect) -> None:
    with pytest.raises(ValueError, match="compress_over_bytes is -1; give at least 0"):
        connect("http://localhost", compress_over_bytes=-1)
