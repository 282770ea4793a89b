"""The service of the Open Inference Protocol: its calls, from the bytes of a request to the bytes of a response."""

from __future__ import annotations

from functools import partial

import grpc

from astec.server.api.open_inference.calls import InferenceCalls, outputs_of
from astec.server.api.predict import require_ready, server_timing
from astec.server.errors import UnknownModelError
from astec.server.metrics.board import RpcMethod
from astec.server.rpc.messages import infer_response, metadata_response, parse_infer_message, read_message, to_bytes
from astec.server.rpc.open_calls import Answer, Call, OpenCalls
from astec.server.rpc.proto.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)

SERVICE = "inference.GRPCInferenceService"

_TIMING_KEY = "server-timing"


class InferenceService:
    """The calls of the service that have one request and one response.

    Args:
        calls: What they answer, as over HTTP.
    """

    def __init__(self, calls: InferenceCalls) -> None:
        self._calls = calls

    def handlers(self, open_calls: OpenCalls) -> dict[str, grpc.RpcMethodHandler]:
        """Return what answers each call, by the name of its method."""
        answers: dict[RpcMethod, Answer] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        return {
            method: grpc.unary_unary_rpc_method_handler(open_calls.answering(SERVICE, method, answer))
            for method, answer in answers.items()
        }

    async def server_live(self, content: bytes, call: Call) -> bytes:
        """Answer as long as the event loop runs."""
        return to_bytes(ServerLiveResponse(live=True))

    async def server_ready(self, content: bytes, call: Call) -> bytes:
        """Answer whether the server takes queries: not while it shuts down."""
        return to_bytes(ServerReadyResponse(ready=self.is_ready()))

    async def model_ready(self, content: bytes, call: Call) -> bytes:
        """Answer whether a model is served, and takes queries."""
        asked = read_message(ModelReadyRequest, content)
        try:
            self._calls.service_of(asked.name, asked.version or None)
        except UnknownModelError:
            return to_bytes(ModelReadyResponse(ready=False))
        return to_bytes(ModelReadyResponse(ready=self.is_ready()))

    async def server_metadata(self, content: bytes, call: Call) -> bytes:
        """Answer with name and version of the server."""
        return to_bytes(ServerMetadataResponse(**self._calls.server_metadata([]).model_dump()))

    async def model_metadata(self, content: bytes, call: Call) -> bytes:
        """Answer with the model's inputs and outputs."""
        asked = read_message(ModelMetadataRequest, content)
        self._calls.client_of(call.headers)
        service = self._calls.service_of(asked.name, asked.version or None)
        return to_bytes(metadata_response(self._calls.model_metadata(service)))

    async def model_infer(self, content: bytes, call: Call) -> bytes:
        """Rank labels for the texts of a tensor; the trailing metadata have the milliseconds of each stage."""
        client = self._calls.client_of(call.headers)
        require_ready(self._calls.first)
        response = await self.infer(read_message(ModelInferRequest, content), client, call)
        return to_bytes(response)

    async def infer(
        self, message: ModelInferRequest, client: str, call: Call, line: int | None = None
    ) -> ModelInferResponse:
        """Rank labels for the texts of a tensor.

        Args:
            message: The request.
            client: The name of the client that pays for it.
            call: The call that it came with.
            line: The number of the request in a stream; None: it is the only one.

        Raises:
            Exception: As `parse_infer_message` and `InferenceCalls.infer`.
        """
        calls = self._calls
        service = calls.service_of(message.model_name, message.model_version or None)
        parsed = parse_infer_message(message, calls.max_queries, outputs_of(service))
        answers = await calls.infer(service, parsed, client, call, call.scope, line)
        if line is None:
            call.trailing.append((_TIMING_KEY, server_timing(answers).decode()))
        to_message = partial(infer_response, service.model_name, parsed, len(answers.results))
        return await calls.write(service, parsed, answers.results, to_message)

    def client_of(self, call: Call) -> str:
        """Return the name of the client of a call; empty if the server asks for no keys.

        Raises:
            UnauthorizedError: The call has no key that the server knows.
        """
        return self._calls.client_of(call.headers)

    def is_ready(self) -> bool:
        """Return whether the server takes queries of new clients."""
        return self._calls.first.state == "ready"
