"""Triton's own client against the real command, with keys."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
KEY = "0123456789abcdef" * 2
UNKNOWN = "qqqq zzzz xxxx"
OUTPUTS = ("labels", "label_ids", "scores", "probabilities")


def shown_key() -> dict[str, str]:
    """Return new headers for each request, because the client adds its own to the dictionary."""
    return {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def address(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("triton")
    keys, log = folder / "keys", folder / "stderr"
    keys.write_text(f"kserve:{KEY}\n")
    keys.chmod(0o600)
    flags = ["--port", 0, "--workers", 1, "--api-keys-file", keys, "--request-timeout-ms", 60_000]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "astec.server", *map(str, [demo_artifact, *flags])],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            announcement = process.stdout.readline()
            found = re.search(r"http://([\d.]+:\d+)", announcement)
            assert found, announcement + log.read_text()
            yield found[1]
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.fixture
def client(address: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address, connection_timeout=PATIENCE_S, network_timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def model(address: str) -> dict[str, str]:
    return httpx.get(f"http://{address}/v1/model", headers=shown_key(), timeout=PATIENCE_S).json()["model"]


def tensor(name: str, elements: list[str] | list[int], *, binary: bool = True) -> InferInput:
    is_text = name == "query"
    array = np.array(elements, dtype=object if is_text else np.int32)
    made = InferInput(name, list(array.shape), "BYTES" if is_text else "INT32")
    return made.set_data_from_numpy(array, binary_data=binary)


def rankings(address: str, queries: list[str], top_k: int, min_score: float = 0.0) -> list[list[dict]]:
    """Return the answers of the native API."""
    asked = {"queries": queries, "top_k": top_k, "min_score": min_score, "probabilities": True}
    answer = httpx.post(f"http://{address}/predict", json=asked, headers=shown_key(), timeout=PATIENCE_S)
    return [result["predictions"] for result in answer.json()["results"]]


def columns(ranked: list[list[dict]], top_k: int) -> tuple[list, list, list, list]:
    """The rankings as tensors, padded."""
    nothing = {"label": "", "label_id": -1, "score": 0.0, "probability": 0.0}
    padded = [labels + [nothing] * (top_k - len(labels)) for labels in ranked]
    return (
        [[label["label"].encode() for label in row] for row in padded],
        [[label["label_id"] for label in row] for row in padded],
        [[np.float32(label["score"]) for label in row] for row in padded],
        [[np.float32(label["probability"]) for label in row] for row in padded],
    )


def test_the_server_says_that_it_is_there(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata() == {"name": "astec", "version": "1", "extensions": ["binary_tensor_data"]}


def test_the_model_tells_its_tensors(client: InferenceServerClient, model: dict[str, str]) -> None:
    name, version = model["name"], model["version"]
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, version)
    assert not client.is_model_ready(name, "another")
    assert not client.is_model_ready("another")
    metadata = client.get_model_metadata(name, version, headers=shown_key())
    assert metadata == client.get_model_metadata(name, headers=shown_key())
    assert (metadata["name"], metadata["versions"]) == (name, [version])
    tensors = {each["name"]: (each["datatype"], each["shape"]) for each in metadata["inputs"] + metadata["outputs"]}
    assert tensors == {
        "query": ("BYTES", [-1]),
        "top_k": ("INT32", [1]),
        "labels": ("BYTES", [-1, -1]),
        "label_ids": ("INT64", [-1, -1]),
        "scores": ("FP32", [-1, -1]),
        "probabilities": ("FP32", [-1, -1]),
    }


@pytest.mark.parametrize("binary_inputs", [True, False], ids=["bytes-in", "json-in"])
@pytest.mark.parametrize("binary_outputs", [True, False, None], ids=["bytes-out", "json-out", "default-out"])
def test_tensors_have_what_the_native_api_answers(
    client: InferenceServerClient,
    address: str,
    model: dict[str, str],
    demo_queries: list[str],
    binary_inputs: bool,
    binary_outputs: bool | None,
) -> None:
    queries = demo_queries[-20:]
    inputs = [tensor("query", queries, binary=binary_inputs), tensor("top_k", [3], binary=binary_inputs)]
    outputs = binary_outputs if binary_outputs is None else [InferRequestedOutput(n, binary_outputs) for n in OUTPUTS]
    result = client.infer(model["name"], inputs, outputs=outputs, request_id="request 7", headers=shown_key())
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"]) == (model["name"], model["version"])
    assert answer["id"] == "request 7"
    assert all(("data" in output) == (binary_outputs is False) for output in answer["outputs"])
    ranked = rankings(address, queries, 3)
    assert [] in ranked
    assert any(len(labels) == 3 for labels in ranked)
    for name, expected, dtype in zip(
        OUTPUTS, columns(ranked, 3), (object, np.int64, np.float32, np.float32), strict=True
    ):
        array = result.as_numpy(name)
        assert array.dtype == dtype
        assert array.shape == (20, 3)
        if name == "labels" and binary_outputs is False:
            array = np.array([[text.encode() for text in row] for row in array], dtype=object)
        assert array.tolist() == np.array(expected, dtype).tolist()


def test_parameters_narrow_the_answer_of_a_version(
    client: InferenceServerClient, address: str, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = demo_queries[:10]
    scores = sorted(label["score"] for labels in rankings(address, queries, 4) for label in labels)
    narrow = {"top_k": 4, "min_score": scores[len(scores) // 2]}
    result = client.infer(
        model["name"], [tensor("query", queries)], model["version"], headers=shown_key(), parameters=narrow
    )
    expected = columns(rankings(address, queries, **narrow), 4)
    assert result.as_numpy("labels").tolist() == expected[0]
    assert b"" in result.as_numpy("labels")


def test_only_the_outputs_that_are_asked_for_are_answered(client: InferenceServerClient, model: dict[str, str]) -> None:
    outputs = [InferRequestedOutput("scores", binary_data=True), InferRequestedOutput("label_ids", binary_data=False)]
    result = client.infer(model["name"], [tensor("query", [UNKNOWN])], outputs=outputs, headers=shown_key())
    assert result.as_numpy("scores").tolist() == [[0.0] * 5]
    assert result.as_numpy("label_ids").tolist() == [[-1] * 5]
    assert result.as_numpy("labels") is None


def test_a_large_answer_is_whole(client: InferenceServerClient, address: str, model: dict[str, str]) -> None:
    queries = ["running shoes", UNKNOWN] * 100
    result = client.infer(model["name"], [tensor("query", queries), tensor("top_k", [100])], headers=shown_key())
    assert result.as_numpy("labels").tolist() == columns(rankings(address, queries, 100), 100)[0]


def test_requests_that_are_under_way_together_get_their_own_answers(
    address: str, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = demo_queries[:20]
    with InferenceServerClient(address, concurrency=8, network_timeout=PATIENCE_S) as client:
        under_way = [
            client.async_infer(model["name"], [tensor("query", [query])], headers=shown_key()) for query in queries
        ]
        labels = [each.get_result().as_numpy("labels").tolist() for each in under_way]
    assert labels == [[row] for row in columns(rankings(address, queries, 5), 5)[0]]


@pytest.mark.parametrize(
    ("name", "inputs", "headers", "status", "complaint"),
    [
        ("another", [tensor("query", ["a"])], shown_key(), "404", "No such model or version"),
        (None, [tensor("query", ["a"])], {}, "401", "This server asks for a key"),
        (None, [tensor("top_k", [3])], shown_key(), "400", "There is no query"),
        (
            None,
            [tensor("query", ["a"]), tensor("top_k", [101])],
            shown_key(),
            "400",
            "top_k: .*less than or equal to 100",
        ),
        (None, [tensor("query", ["a" * 5000])], shown_key(), "400", "queries.0: .*5000 characters; the limit is 4096"),
        (None, [tensor("query", ["a"] * 2000)], shown_key(), "400", "2000 queries are more than the limit of 1024"),
    ],
    ids=["model", "key", "no-query", "top-k", "long", "many"],
)
def test_the_client_understands_refusals(
    client: InferenceServerClient,
    model: dict[str, str],
    name: str | None,
    inputs: list[InferInput],
    headers: dict[str, str],
    status: str,
    complaint: str,
) -> None:
    with pytest.raises(InferenceServerException, match=complaint) as refusal:
        client.infer(name or model["name"], inputs, headers=headers)
    assert refusal.value.status() == status


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_request_has_the_answer_of_the_same_request(
    client: InferenceServerClient, model: dict[str, str], coding: str, binary: bool
) -> None:
    inputs = [tensor("query", ["running shoes", UNKNOWN] * 10, binary=binary)]
    plain = client.infer(model["name"], inputs, headers=shown_key())
    compressed = client.infer(model["name"], inputs, headers=shown_key(), request_compression_algorithm=coding)
    for name in OUTPUTS:
        assert compressed.as_numpy(name).tolist() == plain.as_numpy(name).tolist()


def test_compression_is_left_out_of_answers(client: InferenceServerClient, model: dict[str, str]) -> None:
    inputs = [tensor("query", ["a"])]
    result = client.infer(model["name"], inputs, headers=shown_key(), response_compression_algorithm="gzip")
    assert result.as_numpy("labels").shape == (1, 5)
