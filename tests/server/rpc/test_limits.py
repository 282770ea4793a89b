"""What a server with little room, time and patience answers over gRPC."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException

from tests.server.rpc.grpc_process import PATIENCE_S, GrpcProcess, grpc_process, tensor

pytestmark = pytest.mark.e2e

KEY = "0123456789abcdef" * 2
SHOWN = {"authorization": f"Bearer {KEY}"}
# A batch waits for a second for more queries than there are, so that each query waits.
WAITING = ("--workers", 1, "--batch-timeout-us", 1_000_000)


def infer(server: GrpcProcess, queries: int = 1, **options) -> object:
    with InferenceServerClient(server.address) as client:
        return client.infer("demo", [tensor("query", ["running shoes"] * queries)], **options)


def status_of(server: GrpcProcess, **options) -> str:
    try:
        infer(server, **options)
    except InferenceServerException as error:
        return error.status().removeprefix("StatusCode.")
    return "OK"


def one_query() -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="demo")
    query = request.inputs.add(name="query", datatype="BYTES", shape=[1])
    query.contents.bytes_contents.append(b"running shoes")
    return request


@pytest.fixture(scope="module")
def patient(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcProcess]:
    flags = (*WAITING, "--request-timeout-ms", 60_000, "--queue-capacity", 2)
    with grpc_process(demo_artifact, tmp_path_factory.mktemp("patient"), *flags) as server:
        yield server


def test_a_passed_deadline_of_the_server_is_deadline_exceeded(demo_artifact: Path, tmp_path: Path) -> None:
    with grpc_process(demo_artifact, tmp_path, *WAITING, "--request-timeout-ms", 50) as server:
        with pytest.raises(InferenceServerException, match="within the deadline of 50 ms") as refusal:
            infer(server)
        assert refusal.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        assert server.calls("ModelInfer", "DEADLINE_EXCEEDED") == 1
        assert server.metric('astec_shed_total{reason="deadline"}') == 1


def left(server: GrpcProcess) -> float:
    return server.metric('astec_shed_total{reason="client_left"}')


def ended_by_client(server: GrpcProcess) -> float:
    """Count the calls whose clients waited no longer: a client may give up just before the deadline that it sent."""
    return server.calls("ModelInfer", "DEADLINE_EXCEEDED") + server.calls("ModelInfer", "CANCELLED")


def test_what_nobody_waits_for_is_not_computed(patient: GrpcProcess) -> None:
    computed, give_up_s = patient.metric("astec_queries_total"), time.monotonic() + PATIENCE_S
    begun_left, begun_ended = left(patient), ended_by_client(patient)
    while left(patient) == begun_left:  # A call may end before it has reached the server.
        assert status_of(patient, client_timeout=0.2) == "DEADLINE_EXCEEDED"
        assert time.monotonic() < give_up_s
    assert patient.metric("astec_queries_total") == computed
    assert ended_by_client(patient) - begun_ended == left(patient) - begun_left


def test_a_call_that_its_client_cancels_leaves_the_queue(patient: GrpcProcess) -> None:
    before, give_up_s = left(patient), time.monotonic() + PATIENCE_S
    with grpc.insecure_channel(patient.address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        while left(patient) == before:
            call = infer.future(one_query().SerializeToString())
            time.sleep(0.1)
            call.cancel()
            assert time.monotonic() < give_up_s
    assert patient.calls("ModelInfer", "CANCELLED") >= 1


def test_a_full_queue_is_resource_exhausted_and_tells_when_to_come_back(patient: GrpcProcess) -> None:
    request = one_query().SerializeToString()
    with grpc.insecure_channel(patient.address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        infer(request)
        with patient.standing_still():
            calls = [infer.future(request) for _ in range(3)]
        refused = [call for call in calls if call.code() is not grpc.StatusCode.OK]
        assert len(refused) == 1
        assert refused[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 of 2 places in the queue are taken" in refused[0].details()
        assert dict(refused[0].trailing_metadata())["retry-after"] == "1"


def test_the_rate_limit_of_a_key_is_that_of_http(demo_artifact: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ads:{KEY}\n")
    keys.chmod(0o600)
    # A query an hour, so that the speed of the test makes no difference.
    flags = ("--workers", 2, "--api-keys-file", keys, "--rate-limit-qps", 1 / 3600, "--rate-limit-burst", 2)
    with grpc_process(demo_artifact, tmp_path, *flags) as server:
        assert status_of(server, queries=3) == "UNAUTHENTICATED"
        assert status_of(server, queries=2, headers=SHOWN) == "OK"
        assert status_of(server, headers=SHOWN) == "RESOURCE_EXHAUSTED"
        assert server.metric('astec_shed_total{reason="rate_limited"}') == 1
