"""`astec.load`: the same answers as the server's, its errors, and what importing it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

import astec
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bag
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.api.schema import Prediction
from tests.linked_artifacts import put_in_cache

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]
UNKNOWN = "qqqq zzzz xxxx"
PATIENCE = {"request_timeout_ms": 60_000}


@pytest.fixture(scope="module")
def model(demo_artifact: Path) -> astec.Model:
    return astec.load(demo_artifact)


@pytest.fixture(scope="module")
def described_model(described_artifact: Artifact) -> astec.Model:
    return astec.load(described_artifact.path)


def as_json(predictions: list[Prediction]) -> list[dict[str, Any]]:
    """Predictions as a server sends them; numbers as the float32 that they are."""
    found = [prediction.model_dump(exclude_none=True) for prediction in predictions]
    return [rounded(prediction) for prediction in found]


def rounded(prediction: dict[str, Any]) -> dict[str, Any]:
    return {name: np.float32(value) if isinstance(value, float) else value for name, value in prediction.items()}


async def served(client: httpx.AsyncClient, **request: object) -> list[list[dict[str, Any]]]:
    answer = await client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    return [[rounded(one) for one in result["predictions"]] for result in answer.json()["results"]]


@pytest.mark.parametrize(
    "conditions",
    [{}, {"top_k": 20}, {"top_k": 100, "min_score": 0.2}, {"probabilities": True}],
    ids=["defaults", "more labels", "likely labels", "probabilities"],
)
async def test_the_answers_are_those_of_the_server(
    model: astec.Model, serve: Serve, demo_queries: list[str], conditions: dict[str, Any]
) -> None:
    queries = [*demo_queries[:45], *demo_queries[-5:]]  # the last ones are odd
    async with serve(**PATIENCE) as (_, client):
        expected = await served(client, queries=queries, **conditions)
    assert any(expected)
    assert [as_json(predictions) for predictions in model.predict(queries, **conditions)] == expected
    assert [as_json(model.predict(query, **conditions)) for query in queries] == expected


async def test_the_labels_that_conditions_leave_are_those_of_the_server(
    described_model: astec.Model, serving: Callable[[Artifact], Serve], described_artifact: Artifact
) -> None:
    queries = ["running shoes", "garden hose", "kitchen tap"]
    async with serving(described_artifact)(**PATIENCE) as (_, client):
        expected = await served(
            client, queries=queries, filter={"country": ["AT", "CH"]}, exclude={"advertiser": "acme"}
        )
    found = described_model.predict(queries, filter={"country": {"AT", "CH"}}, exclude={"advertiser": "acme"})
    assert [as_json(predictions) for predictions in found] == expected
    assert found != described_model.predict(queries)


async def test_an_explanation_is_that_of_the_server(model: astec.Model, serve: Serve) -> None:
    async with serve(**PATIENCE) as (_, client):
        answer = (await client.post("/predict", json={"query": "running shoes", "top_k": 3, "explain": True})).json()
    explained = model.explain("running shoes", top_k=3)
    assert as_json(explained.predictions) == [rounded(prediction) for prediction in answer["predictions"]]
    assert explained.explanation.model_dump() == answer["explanation"]


def test_one_query_gets_one_list_and_several_get_one_each(model: astec.Model) -> None:
    one = model.predict("running shoes", top_k=3)
    assert [type(prediction) for prediction in one] == [Prediction] * 3
    assert model.predict(["running shoes"], top_k=3) == [one]
    assert model.predict((query for query in ("running shoes", UNKNOWN)), top_k=3) == [one, []]
    assert model.predict([]) == []


def test_unknown_words_have_no_labels(model: astec.Model) -> None:
    assert model.predict(UNKNOWN) == []
    assert model.predict([UNKNOWN, ""]) == [[], []]
    assert model.explain(UNKNOWN).predictions == []


def test_a_long_list_is_answered_as_short_ones_are(model: astec.Model, demo_queries: list[str]) -> None:
    queries = demo_queries * 3
    assert len(queries) > 512
    assert model.predict(queries) == [model.predict(query) for query in queries]


def test_threads_may_share_a_model(model: astec.Model, demo_queries: list[str]) -> None:
    expected = model.predict(demo_queries)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(model.predict, demo_queries)) == expected


def test_a_model_of_features_takes_bags(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint()
    pack(checkpoint, build_indices(checkpoint), tmp_path / "artifact", "bags")
    model = astec.load(tmp_path / "artifact")
    bag = Bag(np.array([0, 3], np.int32), np.array([1.0, 0.5], np.float32))
    assert model.predict(bag)
    assert model.predict([bag, bag]) == [model.predict(bag)] * 2
    with pytest.raises(ValueError, match=r"^queries\[1\]: feature ids must lie between 0 and \d+"):
        model.predict([bag, Bag(np.array([10**6], np.int32), np.ones(1, np.float32))])


def test_a_model_knows_its_name_and_version(model: astec.Model, opened_artifact: Artifact) -> None:
    assert model.name == "demo"
    assert model.version == opened_artifact.manifest.model.version


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"top_k": 0}, "top_k is 0: Input should be greater than or equal to 1"),
        ({"top_k": 101}, "top_k is 101: Input should be less than or equal to 100"),
        ({"top_k": "5"}, "top_k is '5': Input should be a valid integer"),
        ({"min_score": 1.5}, "min_score is 1.5: Input should be less than or equal to 1"),
        (
            {"filter": {"country": ["DE", 1.5]}},
            r"filter.country.1 is 1.5: A value is a string, a boolean or an integer",
        ),
        ({"filter": {"country": "DE"}}, "filter.country: This model has no label metadata; export it with"),
    ],
)
def test_an_argument_outside_its_limits_is_refused(model: astec.Model, conditions: dict[str, Any], said: str) -> None:
    for ask in (model.predict, model.explain):
        with pytest.raises(ValueError, match=f"^{said}"):
            ask("running shoes", **conditions)


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (3, "queries is of type int; give a text"),
        (None, "queries is of type NoneType; give a text"),
        (["running shoes", 3], r"queries\[1\] is of type int; give a text"),
        (b"running shoes", r"queries\[0\] is of type int; give a text"),
    ],
)
def test_what_is_no_query_is_refused(model: astec.Model, queries: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        model.predict(queries)


def test_probabilities_need_a_calibration(described_model: astec.Model) -> None:
    with pytest.raises(ValueError, match="probabilities=True: model 'described' has no calibration"):
        described_model.predict("running shoes", probabilities=True)


def test_what_is_no_artifact_is_refused(tmp_path: Path, demo_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        astec.load(tmp_path)
    with pytest.raises(ValueError, match=r"^verify is 'no'; give 'hashes' or 'sizes'$"):
        astec.load(demo_artifact, verify="no")  # type: ignore[arg-type]
    assert astec.load(str(demo_artifact), verify="sizes").predict("running shoes")


def test_an_artifact_of_links_is_loaded_where_they_are_allowed(demo_artifact: Path, tmp_path: Path) -> None:
    snapshot = put_in_cache(tmp_path / "cache", demo_artifact)
    model = astec.load(snapshot, allow_links_under=str(tmp_path / "cache"))
    assert model.predict("running shoes") == astec.load(demo_artifact).predict("running shoes")
    with pytest.raises(ArtifactError, match="is a link to"):
        astec.load(snapshot)


def test_a_model_in_process_loads_neither_torch_nor_a_web_server(demo_artifact: Path) -> None:
    program = (
        "import json, sys, astec; astec.load(sys.argv[1]).predict('running shoes'); print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(demo_artifact)], check=True, capture_output=True, text=True
    )
    assert not {"torch", "onnx", "fastapi", "starlette", "uvicorn", "uvloop", "httpx"} & set(json.loads(done.stdout))
