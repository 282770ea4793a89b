"""Spans of calls over gRPC: the real command, Triton's client, and a collector of OpenTelemetry."""

import queue
from pathlib import Path

import grpc
import pytest
from opentelemetry.trace import StatusCode
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from astec.export.artifact.store import Artifact
from astec.server.tracing.otlp_spans import SpanConverter
from astec.server.tracing.request_span import Head, RequestSpan
from tests.server.rpc.grpc_process import PATIENCE_S, grpc_process, tensor
from tests.server.tracing.collector import SERVER, UNSET, Received, collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ["queue", "featurize", "encode", "shortlist", "score"]
SERVICE = "inference.GRPCInferenceService"
NUM_STREAMED = 40


def headers_of(request_id: str, flags: str = "01") -> dict[str, str]:
    return {"x-request-id": request_id, "traceparent": f"00-{TRACE}-{SPAN}-{flags}"}


def stream(client: InferenceServerClient, model: str) -> None:
    """Send many requests at once, the last one to a model that is not there, and read all answers."""
    answers: queue.Queue[object] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error), headers=headers_of("stream"))
    for name in [model] * NUM_STREAMED + ["none"]:
        client.async_stream_infer(name, [tensor("query", ["shoes"])])
    errors = [answers.get(timeout=PATIENCE_S) for _ in range(NUM_STREAMED + 1)]
    client.stop_stream()
    assert [error is None for error in errors] == [True] * NUM_STREAMED + [False]


@pytest.mark.e2e
def test_every_call_has_a_span_with_its_parent_code_and_stages(described_artifact: Artifact, tmp_path: Path) -> None:
    model = described_artifact.manifest.model
    with collecting() as collector:
        flags = ("--workers", 1, "--drain-s", 0, "--otlp-endpoint", collector.url)
        with grpc_process(described_artifact.path, tmp_path, *flags) as server:
            with InferenceServerClient(server.address) as client:
                query = [tensor("query", ["shoes", "a hose"])]
                assert client.infer(model.name, query, headers=headers_of("infer")) is not None
                client.infer(model.name, query, headers=headers_of("not-recorded", "00"))
                with pytest.raises(InferenceServerException, match="NOT_FOUND"):
                    client.infer("none", query, headers=headers_of("unknown-model"))
                stream(client, model.name)
            with grpc.insecure_channel(server.address) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                check(b"", timeout=PATIENCE_S, metadata=list(headers_of("health").items()))
        spans = {received.attributes["astec.request_id"]: received for received in collector.until(4)}
        assert len(collector.spans) == 4
    for received in spans.values():
        assert (received.trace_id, received.parent_id, received.span.kind) == (TRACE, SPAN, SERVER)
        assert received.attributes["rpc.system.name"] == "grpc"
        assert received.span.name == received.attributes["rpc.method"]
        assert received.attributes["astec.model.name"] == model.name
        assert not [name for name in received.attributes if name.startswith(("http.", "url."))]
    _infer_and_failures(spans)
    streamed = spans["stream"]
    assert streamed.span.name == f"{SERVICE}/ModelStreamInfer"
    assert (streamed.attributes["astec.queries"], streamed.attributes["astec.failed_lines"]) == (NUM_STREAMED, 1)
    # However the answers of its requests overlap, each ranking that is noted has its own stages.
    assert [event.name for event in streamed.events] == STAGES * (len(streamed.events) // len(STAGES))
    assert len(streamed.events) // len(STAGES) == 25


def _infer_and_failures(spans: dict[str, Received]) -> None:
    infer, unknown, health = spans["infer"], spans["unknown-model"], spans["health"]
    assert infer.span.name == unknown.span.name == f"{SERVICE}/ModelInfer"
    assert infer.attributes["astec.queries"] == 2
    assert [event.name for event in infer.events] == STAGES
    assert (infer.attributes["rpc.response.status_code"], infer.span.status.code) == ("OK", UNSET)
    assert unknown.attributes["error.type"] == unknown.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert unknown.span.status.code == UNSET
    assert (health.span.name, health.events) == ("grpc.health.v1.Health/Check", [])


@pytest.mark.parametrize(
    ("code", "status"),
    [("OK", StatusCode.UNSET), ("RESOURCE_EXHAUSTED", StatusCode.UNSET), ("CANCELLED", StatusCode.UNSET)]
    + [(code, StatusCode.ERROR) for code in ("DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE")],
)
def test_only_faults_of_the_server_are_errors(code: str, status: StatusCode) -> None:
    ended: list[RequestSpan] = []
    span = RequestSpan(ended.append, 1, 0, True, Head(b"POST", b"/a/B"))
    span.end_call("a/B", code, 0.5, b"")
    (received,) = [SpanConverter(("", ""), "/ml").convert(one) for one in ended]
    assert (received.name, received.status.status_code) == ("a/B", status)
    assert dict(received.attributes or {}).get("error.type", "OK") == code
