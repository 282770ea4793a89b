"""Both clients with shards that are down, slow, of another model, or answer garbage."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from astec.server.client import (
    AstecError,
    InvalidFieldError,
    RetryPolicy,
    ShardMismatchError,
    ShardMissingError,
    UnauthorizedError,
)
from tests.server.client.conftest import Reply, problem

ONCE = RetryPolicy(max_attempts=1)
MODEL = "ab" * 32


def shard_answer(index: int, count: int = 2, model: str = MODEL, **changed: Any) -> Reply:
    """The answer of a shard with one label, `label 0` for shard 0; its score is higher for higher shards."""
    candidates = {
        "known": True,
        "ids": [index],
        "texts": [f"label {index}"],
        "sums": [0.3 + index / 10],
        "points": {"ids": [index], "similarities": [0.5], "weights": [0.1], "sizes": [1], "labels": [0]},
    }
    answer = {
        "model": {"name": "m", "version": model[:4]},
        "shard": {"index": index, "count": count, "model_sha256": model},
        "merge": {"centroids": 0, "points": 1, "max_candidates": None, "votes": 0.2, "bias": 0.0, "logits": False},
        "top_k": 5,
        "min_score": 0.0,
        "candidates": candidates | changed,
    }
    return Reply(content=json.dumps(answer).encode())


@pytest.fixture
def closed_url() -> str:
    """An address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_labels_of_all_shards_are_in_one_ranking(connect, script) -> None:
    servers = [script(shard_answer(0)), script(shard_answer(1))]
    ranking = connect([server.url for server in servers]).predict("shoes", top_k=5)
    # Of two points that are equally near, the one with the lower id is the nearest, and votes for label 0 alone.
    assert [(one.label_id, one.label, one.score) for one in ranking] == [(0, "label 0", 0.5)]
    assert not ranking.partial
    assert [json.loads(server.received[0].body) for server in servers] == [
        {"query": "shoes", "top_k": 5, "candidates": "near"}
    ] * 2


def test_a_shard_that_is_down_fails_the_request_and_is_named(connect, script, closed_url: str) -> None:
    client = connect([script(shard_answer(0)).url, closed_url], retry=ONCE)
    with pytest.raises(ShardMissingError, match=f"1 of 2 shards did not answer: {closed_url} .The connection failed"):
        client.predict("shoes")


def test_a_partial_answer_names_the_missing_shard(connect, script, closed_url: str) -> None:
    client = connect([script(shard_answer(0)).url, closed_url], on_missing="partial")
    ranking = client.predict("shoes")
    assert [one.label for one in ranking] == ["label 0"]
    assert (ranking.partial, ranking.missing) == (True, (closed_url,))


def test_a_request_that_may_be_partial_does_not_wait_for_a_busy_shard(connect, script) -> None:
    busy = script(problem(503, Retry_After="20"))
    ranking = connect([script(shard_answer(0)).url, busy.url], on_missing="partial").predict("shoes")
    assert ranking.missing == (busy.url,)
    assert len(busy.received) == 1


def test_a_request_fails_if_all_shards_are_down(connect, closed_url: str) -> None:
    client = connect([closed_url, closed_url.replace("127.0.0.1", "localhost")], on_missing="partial")
    with pytest.raises(ShardMissingError, match="2 of 2 shards did not answer"):
        client.predict("shoes")


@pytest.mark.parametrize("on_missing", ["fail", "partial"])
@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (Reply(content=b"<html>"), "not a JSON object"),
        (Reply(content=b'{"predictions": []}'), "not that of a shard .KeyError: 'shard'"),
        (shard_answer(1, texts=[]), "do not have an id, a text and a sum each"),
        (shard_answer(1, sums=[float("nan")]), "a number is NaN or infinite"),
        (shard_answer(1, sums=["high"]), "could not convert string to float"),
        (shard_answer(1, points={"ids": [1]}), "KeyError"),
        (
            shard_answer(1, points={"ids": [1], "similarities": [1], "weights": [1], "sizes": [1], "labels": [7]}),
            "a label 7 of 1 is named",
        ),
        (
            shard_answer(1, points={"ids": [1], "similarities": [1], "weights": [0], "sizes": [1], "labels": [0]}),
            "a vote has no weight",
        ),
    ],
)
def test_garbage_is_never_served(connect, script, on_missing: str, garbage: Reply, reason: str) -> None:
    bad = script(garbage)
    client = connect([script(shard_answer(0)).url, bad.url], on_missing=on_missing)
    if on_missing == "partial" and garbage.content == b"<html>":
        assert client.predict("shoes").missing == (bad.url,)  # as what a proxy answers for a server that is down
        return
    with pytest.raises(AstecError, match=reason) as raised:
        client.predict("shoes")
    assert bad.url in str(raised.value)


def test_shards_of_different_models_are_refused(connect, script) -> None:
    one, other = script(shard_answer(0)), script(shard_answer(1, model="cd" * 32))
    client = connect([one.url, other.url], on_missing="partial")
    with pytest.raises(ShardMismatchError) as raised:
        client.predict("shoes")
    assert str(raised.value) == (
        f"The shards are of different models: {one.url} serves shard 0 of 2 of m abab (hash abababababab), and "
        f"{other.url} serves shard 1 of 2 of m cdcd (hash cdcdcdcdcdcd). Serve shards of one export at all addresses"
    )


def test_two_addresses_of_one_shard_are_refused(connect, script) -> None:
    one, other = script(shard_answer(1)), script(shard_answer(1))
    with pytest.raises(ShardMismatchError, match=f"{one.url} serves shard 1 of 2 .*, and so does {other.url}"):
        connect([one.url, other.url]).predict("shoes")


def test_too_few_addresses_are_refused(connect, script) -> None:
    urls = [script(shard_answer(0, count=4)).url, script(shard_answer(2, count=4)).url]
    with pytest.raises(ShardMismatchError, match=r"2 addresses are given\. No address serves shard 1, 3; give"):
        connect(urls).predict("shoes")


def test_a_whole_model_is_no_shard(connect, script) -> None:
    url = script(Reply()).url
    with pytest.raises(AstecError, match=f"The answer of {url} is JSON, but not that of a shard"):
        connect([url]).predict("shoes")


def test_an_invalid_request_is_the_same_error_as_without_shards(connect, script) -> None:
    servers = [script(problem(422)), script(problem(422))]
    for on_missing in ("fail", "partial"):
        with pytest.raises(InvalidFieldError):
            connect([server.url for server in servers], on_missing=on_missing).predict("shoes", top_k=1000)


def test_a_key_that_no_shard_knows_is_the_same_error_as_without_shards(connect, script) -> None:
    servers = [script(problem(401)), script(problem(401))]
    client = connect([server.url for server in servers], on_missing="partial")
    with pytest.raises(UnauthorizedError):
        client.predict("shoes")


class Observer:
    """Counts what happens to each shard."""

    def __init__(self) -> None:
        self.answered: list[tuple[int, bool]] = []
        self.hedged: list[int] = []

    def shard_answered(self, shard: int, seconds: float, error: AstecError | None) -> None:
        assert seconds >= 0
        self.answered.append((shard, error is not None))

    def shard_hedged(self, shard: int) -> None:
        self.hedged.append(shard)


def test_a_slow_shard_is_asked_again_and_the_first_answer_counts(connect, script) -> None:
    released = threading.Event()
    slow = script(shard_answer(1)._replace(wait_for=released.wait), shard_answer(1))
    observer = Observer()
    client = connect([script(shard_answer(0)).url, slow.url], hedge_after_ms=50, shard_observer=observer)
    try:
        assert client.predict("shoes")[0].label == "label 0"
    finally:
        released.set()
    assert observer.hedged == [1]
    assert (0, False) in observer.answered
    assert (1, False) in observer.answered
    assert len(slow.received) == 2


def test_shards_that_answer_in_time_are_asked_once(connect, script) -> None:
    servers = [script(shard_answer(0)), script(shard_answer(1))]
    observer = Observer()
    connect([server.url for server in servers], hedge_after_ms=60_000, shard_observer=observer).predict("shoes")
    assert observer.hedged == []
    assert sorted(observer.answered) == [(0, False), (1, False)]


def test_settings_without_meaning_are_refused(connect) -> None:
    with pytest.raises(ValueError, match="There is no address"):
        connect([])
    with pytest.raises(ValueError, match="http://a is given twice"):
        connect(["http://a", "http://a/"])
    with pytest.raises(ValueError, match="on_missing is 'skip'; give one of fail, partial"):
        connect(["http://a"], on_missing="skip")
    with pytest.raises(ValueError, match="hedge_after_ms is 0; give more than 0"):
        connect(["http://a"], hedge_after_ms=0)


def test_no_error_shows_a_password(connect, script) -> None:
    url = script(problem(500)).url
    with pytest.raises(AstecError) as raised:
        connect([url.replace("http://", "http://ads:secret@"), script(shard_answer(0)).url]).predict("shoes")
    assert url in str(raised.value)
    assert "secret" not in str(raised.value)
