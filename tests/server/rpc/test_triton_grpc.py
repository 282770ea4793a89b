"""Triton's own client for gRPC against the real command, with keys."""

import queue
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import InferenceServerException

from tests.server.rpc.grpc_process import OUTPUTS, PATIENCE_S, GrpcProcess, grpc_process, tensor

pytestmark = pytest.mark.e2e

KEY = "0123456789abcdef" * 2
SHOWN = {"authorization": f"Bearer {KEY}"}
UNKNOWN = "qqqq zzzz xxxx"


@pytest.fixture(scope="module")
def server(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcProcess]:
    folder = tmp_path_factory.mktemp("grpc")
    keys = folder / "keys"
    keys.write_text(f"kserve:{KEY}\n")
    keys.chmod(0o600)
    flags = ("--workers", 1, "--api-keys-file", keys, "--request-timeout-ms", 60_000, "--log-answers", folder / "log")
    with grpc_process(demo_artifact, folder, *flags) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: GrpcProcess) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: GrpcProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def model(server: GrpcProcess) -> dict[str, str]:
    answer = httpx.get(f"{server.url}/v1/model", headers=SHOWN, timeout=PATIENCE_S)
    return answer.raise_for_status().json()["model"]


def columns(server: GrpcProcess, queries: list[str], top_k: int, min_score: float = 0.0) -> dict[str, np.ndarray]:
    """The answers of the native API as tensors, padded."""
    asked = {"queries": queries, "top_k": top_k, "min_score": min_score}
    answer = httpx.post(f"{server.url}/predict", json=asked, headers=SHOWN, timeout=PATIENCE_S).raise_for_status()
    none = {"label": "", "label_id": -1, "score": 0.0}
    rows = [result["predictions"] for result in answer.json()["results"]]
    rows = [row + [none] * (top_k - len(row)) for row in rows]
    return {
        "labels": np.array([[label["label"].encode() for label in row] for row in rows], object),
        "label_ids": np.array([[label["label_id"] for label in row] for row in rows], np.int64),
        "scores": np.array([[label["score"] for label in row] for row in rows], np.float32),
    }


def call(channel: grpc.Channel, method: str, request, headers=SHOWN):
    """Call a method with a message of Triton's own; the answer, and the call."""
    kind = getattr(service_pb2, type(request).__name__.replace("Request", "Response"))
    called = channel.unary_unary(
        f"/inference.GRPCInferenceService/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=kind.FromString,
    )
    return called.with_call(request, metadata=tuple(headers.items()), timeout=PATIENCE_S)


def test_the_server_says_that_it_is_there(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("astec", "1")


def test_the_model_tells_its_tensors_as_over_http(
    client: InferenceServerClient, server: GrpcProcess, model: dict[str, str]
) -> None:
    name, version = model["name"], model["version"]
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, version)
    assert not client.is_model_ready(name, "another")
    assert not client.is_model_ready("another")
    metadata = client.get_model_metadata(name, version, headers=SHOWN, as_json=True)
    assert metadata == client.get_model_metadata(name, headers=SHOWN, as_json=True)
    over_http = httpx.get(f"{server.url}/v2/models/{name}", headers=SHOWN, timeout=PATIENCE_S).json()
    tensors = over_http["inputs"] + over_http["outputs"]
    for each in tensors:
        each["shape"] = [str(size) for size in each["shape"]]  # JSON has no numbers of 64 bits
    assert metadata == over_http
    assert {each["name"] for each in tensors} >= {"query", "top_k", *OUTPUTS}


def test_tensors_have_what_the_native_api_answers(
    client: InferenceServerClient, server: GrpcProcess, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = demo_queries[-20:]
    inputs = [tensor("query", queries), tensor("top_k", [3])]
    result = client.infer(model["name"], inputs, request_id="request 7", headers=SHOWN)
    answer = result.get_response()
    assert (answer.model_name, answer.model_version, answer.id) == (model["name"], model["version"], "request 7")
    assert len(answer.raw_output_contents) == len(answer.outputs)
    expected = columns(server, queries, 3)
    assert b"" in expected["labels"]
    for name in OUTPUTS:
        assert result.as_numpy(name).dtype == expected[name].dtype
        assert result.as_numpy(name).tolist() == expected[name].tolist()
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (20, 3)
    assert (probabilities[expected["label_ids"] < 0] == 0).all()
    assert (probabilities > 0).any()


def test_typed_contents_are_answered_by_typed_contents(
    channel: grpc.Channel, server: GrpcProcess, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = demo_queries[:5]
    request = service_pb2.ModelInferRequest(model_name=model["name"], model_version=model["version"])
    query = request.inputs.add(name="query", datatype="BYTES", shape=[5])
    query.contents.bytes_contents.extend(text.encode() for text in queries)
    request.inputs.add(name="top_k", datatype="INT32", shape=[1]).contents.int_contents.append(4)
    answer, _ = call(channel, "ModelInfer", request)
    assert not answer.raw_output_contents
    contents = {output.name: output.contents for output in answer.outputs}
    expected = columns(server, queries, 4)
    assert list(contents["labels"].bytes_contents) == expected["labels"].ravel().tolist()
    assert list(contents["label_ids"].int64_contents) == expected["label_ids"].ravel().tolist()
    assert list(contents["scores"].fp32_contents) == expected["scores"].ravel().tolist()
    assert all(list(output.shape) == [5, 4] for output in answer.outputs)


def test_parameters_narrow_the_answer_of_a_version(
    client: InferenceServerClient, server: GrpcProcess, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = demo_queries[:10]
    min_score = float(np.median(columns(server, queries, 4)["scores"]))
    narrow = {"top_k": 4, "min_score": min_score}
    result = client.infer(model["name"], [tensor("query", queries)], model["version"], headers=SHOWN, parameters=narrow)
    expected = columns(server, queries, 4, min_score)
    assert b"" in expected["labels"]
    assert result.as_numpy("labels").tolist() == expected["labels"].tolist()


def test_only_the_outputs_that_are_asked_for_are_answered(client: InferenceServerClient, model: dict[str, str]) -> None:
    outputs = [InferRequestedOutput("scores"), InferRequestedOutput("label_ids")]
    result = client.infer(model["name"], [tensor("query", [UNKNOWN])], outputs=outputs, headers=SHOWN)
    assert result.as_numpy("scores").tolist() == [[0.0] * 5]
    assert result.as_numpy("label_ids").tolist() == [[-1] * 5]
    assert result.as_numpy("labels") is None


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_request_has_the_answer_of_the_same_request(
    client: InferenceServerClient, model: dict[str, str], coding: str
) -> None:
    inputs = [tensor("query", ["running shoes", UNKNOWN] * 50)]
    plain = client.infer(model["name"], inputs, headers=SHOWN)
    compressed = client.infer(model["name"], inputs, headers=SHOWN, compression_algorithm=coding)
    assert compressed.as_numpy("scores").tolist() == plain.as_numpy("scores").tolist()


def test_a_large_answer_is_whole(client: InferenceServerClient, server: GrpcProcess, model: dict[str, str]) -> None:
    queries = ["running shoes", UNKNOWN] * 100
    result = client.infer(model["name"], [tensor("query", queries), tensor("top_k", [100])], headers=SHOWN)
    assert result.as_numpy("labels").tolist() == columns(server, queries, 100)["labels"].tolist()


def raw(*contents: bytes) -> service_pb2.ModelInferRequest:
    """A request for one query whose bytes are what they are."""
    request = service_pb2.ModelInferRequest(model_name="demo", raw_input_contents=contents)
    request.inputs.add(name="query", datatype="BYTES", shape=[1])
    return request


def typed(*contents: bytes) -> service_pb2.ModelInferRequest:
    """The same with typed contents."""
    request = service_pb2.ModelInferRequest(model_name="demo")
    query = request.inputs.add(name="query", datatype="BYTES", shape=[1])
    query.contents.bytes_contents.extend(contents)
    return request


def both() -> service_pb2.ModelInferRequest:
    request = typed(b"a")
    request.raw_input_contents.append(b"\1\0\0\0a")
    return request


@pytest.mark.parametrize(
    ("request_message", "complaint"),
    [
        (raw(b"\1\0\0\0\xff"), "inputs.0: Element 0 is not UTF-8"),
        (raw(b"\2\0\0\0a"), "inputs.0: Element 0 ends after the 5 bytes"),
        (raw(b"\1\0\0\0a", b""), "raw_input_contents: There are 2 of them, but 1 inputs"),
        (typed(b"\xff"), "inputs.0: Element 0 is not UTF-8"),
        (typed(b"a", b"b"), "inputs.0: There are 2 elements, but 1 by the shape"),
        (typed(), "inputs.0: There are 0 elements, but 1 by the shape"),
        (both(), "inputs.0: It has contents, and raw_input_contents, too"),
        (service_pb2.ModelInferRequest(model_name="demo"), "inputs: There is no query"),
    ],
    ids=["raw-utf8", "raw-short", "raw-many", "typed-utf8", "typed-many", "typed-none", "both", "no-query"],
)
def test_tensors_that_do_not_fit_are_refused(
    channel: grpc.Channel, request_message: service_pb2.ModelInferRequest, complaint: str
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        call(channel, "ModelInfer", request_message)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details().startswith(complaint)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
def test_bytes_that_are_no_message_are_refused_without_a_traceback(
    channel: grpc.Channel, server: GrpcProcess, method: str
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"\xff" * 9, metadata=tuple(SHOWN.items()))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details() == f"body: It is no {method}Request in the wire format of Protocol Buffers"
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("name", "inputs", "headers", "status", "complaint"),
    [
        ("another", [tensor("query", ["a"])], SHOWN, "NOT_FOUND", "No such model or version"),
        ("demo", [tensor("query", ["a"])], {}, "UNAUTHENTICATED", "This server asks for a key"),
        (
            "demo",
            [tensor("query", ["a"])],
            {"authorization": "Bearer wrong"},
            "UNAUTHENTICATED",
            "does not know this key",
        ),
        (
            "demo",
            [tensor("query", ["a"]), tensor("top_k", [101])],
            SHOWN,
            "INVALID_ARGUMENT",
            "top_k: .*less than or equal to 100",
        ),
        ("demo", [tensor("query", ["a" * 5000])], SHOWN, "INVALID_ARGUMENT", "5000 characters; the limit is 4096"),
        ("demo", [tensor("query", ["a"] * 2000)], SHOWN, "INVALID_ARGUMENT", "2000 queries are more than the limit"),
        ("demo", [tensor("query", ["a" * 2**21])], SHOWN, "RESOURCE_EXHAUSTED", r"larger than max \(\d+ vs. 1048576\)"),
    ],
    ids=["model", "no-key", "wrong-key", "top-k", "long", "many", "large"],
)
def test_the_client_understands_refusals(
    client: InferenceServerClient,
    name: str,
    inputs: list[InferInput],
    headers: dict[str, str],
    status: str,
    complaint: str,
) -> None:
    with pytest.raises(InferenceServerException, match=complaint) as refusal:
        client.infer(name, inputs, headers=headers)
    assert refusal.value.status() == f"StatusCode.{status}"


def test_a_key_is_needed_where_http_needs_one(client: InferenceServerClient, model: dict[str, str]) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.get_model_metadata(model["name"])
    assert refusal.value.status() == "StatusCode.UNAUTHENTICATED"
    ended: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: ended.put(error))
    assert ended.get(timeout=PATIENCE_S).status() == "StatusCode.UNAUTHENTICATED"
    client.stop_stream(cancel_requests=True)


def test_a_stream_answers_in_order_and_goes_on_after_an_error(
    client: InferenceServerClient, server: GrpcProcess, model: dict[str, str], demo_queries: list[str]
) -> None:
    queries = [query for query in demo_queries for _ in range(2)]
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=SHOWN)
    for number, query in enumerate(queries):
        name = model["name"] if number != 150 else "another"
        client.async_stream_infer(name, [tensor("query", [query])], request_id=str(number))
    received = [answers.get(timeout=PATIENCE_S) for _ in queries]
    client.stop_stream()
    expected = columns(server, queries, 5)["labels"]
    for number, (result, error) in enumerate(received):
        if number == 150:
            assert "No such model or version" in str(error)
            continue
        assert error is None
        assert result.get_response().id == str(number)
        assert result.as_numpy("labels").tolist() == [expected[number].tolist()]


def test_an_id_comes_back_and_is_the_one_of_the_answer_log(
    channel: grpc.Channel, server: GrpcProcess, model: dict[str, str]
) -> None:
    asked = {**SHOWN, "x-request-id": "abc-1"}
    request = raw(b"\5\0\0\0shoes")
    _, ended = call(channel, "ModelInfer", request, asked)
    trailing = dict(ended.trailing_metadata())
    assert trailing["x-request-id"] == "abc-1"
    assert trailing["server-timing"].startswith("queue;dur=")
    _, ended = call(channel, "ModelInfer", request)
    assert len(dict(ended.trailing_metadata())["x-request-id"]) == 32
    with pytest.raises(grpc.RpcError) as refusal:
        call(channel, "ModelInfer", typed(), asked)
    assert dict(refusal.value.trailing_metadata())["x-request-id"] == "abc-1"


def test_the_standard_health_check_is_answered(channel: grpc.Channel) -> None:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    serving = b"\x08\x01"  # field 1, SERVING
    for service in (b"", b"inference.GRPCInferenceService"):
        asked = bytes([10, len(service)]) + service if service else b""
        assert check(asked) == serving
    with pytest.raises(grpc.RpcError) as refusal:
        check(b"\n\x05other")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


def test_calls_are_counted_by_method_and_code(client: InferenceServerClient, server: GrpcProcess) -> None:
    before = server.calls("ModelInfer", "OK"), server.calls("ModelInfer", "NOT_FOUND")
    queries = server.metric("astec_queries_total")
    client.infer("demo", [tensor("query", ["a", "b"])], headers=SHOWN)
    with pytest.raises(InferenceServerException):
        client.infer("another", [tensor("query", ["a"])], headers=SHOWN)
    assert (server.calls("ModelInfer", "OK"), server.calls("ModelInfer", "NOT_FOUND")) == (before[0] + 1, before[1] + 1)
    assert server.metric("astec_queries_total") == queries + 2
    assert server.metric('astec_grpc_call_seconds_count{method="ModelInfer"}') >= before[0] + 2
