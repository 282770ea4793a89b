"""Both clients with a real server, in a process of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from astec.loadtest.bench.serving import ours_command, served
from astec.server.client import (
    AstecClient,
    AsyncAstecClient,
    Features,
    InvalidFieldError,
    ModelName,
    Ranking,
    UnauthorizedError,
    Vector,
)

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def url(quoting_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that requires an API key and takes at most ten queries in a request."""
    folder = tmp_path_factory.mktemp("client")
    keys = folder / "keys"
    keys.write_text(f"ads:{KEY}\n")
    flags = ["--api-keys-file", str(keys), "--max-queries-per-request", "10", "--request-timeout-ms", "60000"]
    with served(ours_command(quoting_artifact, 1, *flags)) as server:
        yield server.url


def raw(url: str, **asked: object) -> dict:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{url}/predict", json=asked, headers=headers, timeout=PATIENCE_S).raise_for_status().json()


def as_answered(ranking: Ranking) -> list[dict]:
    """Return predictions as the JSON objects that the server sent, without members that were not requested."""
    return [
        {name: value for name, value in dataclasses.asdict(prediction).items() if value is not None}
        for prediction in ranking
    ]


def test_a_ranking_is_what_the_server_answers(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    answer = raw(url, query="cheap running shoes")
    ranking = client.predict("cheap running shoes")
    assert as_answered(ranking) == answer["predictions"]
    assert len(ranking) == 5
    assert ranking.model == ModelName(**answer["model"])
    assert ranking[0] is ranking.predictions[0]
    assert ranking[:2] == ranking.predictions[:2]
    assert client.predict("cheap running shoes", top_k=2)[:] == ranking[:2]
    strict = client.predict("cheap running shoes", min_score=ranking[2].score)
    assert strict[:] == ranking[:3]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking[0].score = 1.0


def test_an_explanation_is_what_the_server_answers(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    answer = raw(url, query="cheap running shoes", top_k=3, explain=True)
    explained = client.explain("cheap running shoes", top_k=3)
    assert explained.ranking == client.predict("cheap running shoes", top_k=3)
    expected = answer["explanation"]
    assert [dataclasses.asdict(token) for token in explained.tokens] == expected["tokens"]
    assert [dict(label.parts) for label in explained.labels] == [label["parts"] for label in expected["labels"]]
    assert [len(label.tokens) for label in explained.labels] == [len(label["tokens"]) for label in expected["labels"]]
    assert [dataclasses.asdict(word) for word in explained.words] == expected["words"]
    assert [word.text for word in explained.words] == ["cheap", "running", "shoes"]
    assert [list(label.word_weights) for label in explained.labels] == [
        label["word_weights"] for label in expected["labels"]
    ]
    found = [dataclasses.asdict(neighbour) for neighbour in explained.neighbours]
    assert len(found) == 10
    assert found == [neighbour | {"labels": tuple(neighbour["labels"])} for neighbour in expected["neighbours"]]
    with pytest.raises(TypeError):
        explained.labels[0].parts["classifier"] = 1.0


def test_an_explanation_has_probabilities_where_they_are_asked_for(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    assert all(prediction.probability is None for prediction in client.explain("cheap running shoes").ranking)
    explained = client.explain("cheap running shoes", probabilities=True)
    assert explained.ranking == client.predict("cheap running shoes", probabilities=True)


@pytest.mark.parametrize("over_bytes", [0, 1000])
def test_compressed_requests_get_the_same_answers(connect, url: str, demo_queries: list[str], over_bytes: int) -> None:
    plain, compressed = (
        connect(url, api_key=KEY, max_queries_per_request=10, compress_over_bytes=limit) for limit in (None, over_bytes)
    )
    assert compressed.predict_many(demo_queries) == plain.predict_many(demo_queries)
    for query in demo_queries[-8:]:
        assert compressed.predict(query) == plain.predict(query)
    with pytest.raises(InvalidFieldError, match="more than the limit of 10"):
        connect(url, api_key=KEY, compress_over_bytes=0).predict_many(["a"] * 11)


def test_many_queries_are_split_and_come_back_in_order(connect, url: str, demo_queries: list[str]) -> None:
    client = connect(url, api_key=KEY, max_queries_per_request=7)
    rankings = client.predict_many(demo_queries, top_k=3)
    expected = [raw(url, query=query, top_k=3)["predictions"] for query in demo_queries]
    assert [as_answered(ranking) for ranking in rankings] == expected
    assert len({str(predictions) for predictions in expected}) > 50
    assert client.predict_many([]) == []
    with pytest.raises(TypeError, match="sequence"):
        client.predict_many("cheap running shoes")


def test_probabilities_are_there_where_they_were_asked_for(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    answer = raw(url, query="cheap running shoes", probabilities=True)
    ranking = client.predict("cheap running shoes", probabilities=True)
    assert as_answered(ranking) == answer["predictions"]
    assert all(0 <= prediction.probability <= 1 for prediction in ranking)
    assert client.predict_many(["cheap running shoes"] * 2, probabilities=True) == [ranking] * 2
    assert {prediction.probability for prediction in client.predict("cheap running shoes")} == {None}


def test_the_model_and_readiness(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    assert client.ready() is True
    model = client.model()
    assert model.name == "demo"
    assert model.version == raw(url, query="a")["model"]["version"]
    assert model.manifest["featurizer"]["kind"] == "text"
    with pytest.raises(TypeError):
        model.manifest["model"] = "another"


def test_features_are_asked_as_such(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    for features, asked in (
        (Features([3, 17], [0.5, 0.25]), {"ids": [3, 17], "weights": [0.5, 0.25]}),
        (Features((3, 17)), {"ids": [3, 17]}),
        (
            Vector(cast("Any", np.array([0.5, 0, 0, 0.25], np.float32))),
            {"ids": [0, 1, 2, 3], "weights": [0.5, 0, 0, 0.25]},
        ),
    ):
        expected = raw(url, query=asked)["predictions"]
        assert expected
        assert as_answered(client.predict(features)) == expected


def test_what_the_server_refuses_is_told_by_field(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    with pytest.raises(InvalidFieldError) as raised:
        client.predict("a", top_k=1000)
    assert [error.field for error in raised.value.problem.errors] == ["top_k"]
    with pytest.raises(InvalidFieldError, match="limit of 10"):
        client.predict_many(["a"] * 11)


def test_values_that_json_cannot_carry_are_refused_before_they_are_sent(connect, url: str) -> None:
    client = connect(url, api_key=KEY)
    for query in ("\ud800", Features([3], [float("nan")])):
        with pytest.raises(ValueError, match=r"surrogates|JSON"):
            client.predict(query)
        with pytest.raises(ValueError, match=r"surrogates|JSON"):
            client.predict_many(["a", query])


def test_a_key_is_given_or_found_in_the_environment(connect, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTEC_API_KEY", raising=False)
    with pytest.raises(UnauthorizedError, match="asks for a key"):
        connect(url).model()
    with pytest.raises(UnauthorizedError) as raised:
        connect(url, api_key="another-key-of-this-length").predict("a")
    assert "another-key" not in str(raised.value)
    monkeypatch.setenv("ASTEC_API_KEY", KEY)
    assert connect(url).model().name == "demo"
    assert connect(url, api_key=KEY).model().name == "demo"
    with pytest.raises(UnauthorizedError):
        connect(url, api_key="another-key-of-this-length").model()


def test_a_key_that_no_header_carries_is_refused_without_a_quote(connect) -> None:
    for key in (KEY + "\n", "a b", "schlüssel"):
        with pytest.raises(ValueError, match="white space") as raised:
            connect("http://127.0.0.1:1", api_key=key)
        assert key not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"base_url": "127.0.0.1:8000"}, "http://"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"max_queries_per_request": 0}, "max_queries_per_request"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
@pytest.mark.parametrize("kind", [AstecClient, AsyncAstecClient])
def test_options_that_make_no_sense_are_refused_by_name(kind: type, options: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        kind(**{"base_url": "http://127.0.0.1:1"} | options)


def test_no_concurrency_is_refused() -> None:
    with pytest.raises(ValueError, match="max_concurrency"):
        AsyncAstecClient("http://127.0.0.1:1", max_concurrency=0)


def test_clients_close_with_their_block(url: str) -> None:
    with AstecClient(url, api_key=KEY) as client:
        assert client.ready()
    with pytest.raises(RuntimeError, match="closed"):
        client.ready()


async def test_async_clients_close_with_their_block(url: str) -> None:
    async with AsyncAstecClient(url, api_key=KEY) as client:
        assert await client.ready()
    with pytest.raises(RuntimeError, match="closed"):
        await client.ready()
