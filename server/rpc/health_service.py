"""The health checking protocol of gRPC, which the probes of Kubernetes and load balancers ask."""

from __future__ import annotations

import grpc

from astec.server.rpc.inference_service import SERVICE as INFERENCE
from astec.server.rpc.inference_service import InferenceService
from astec.server.rpc.messages import read_message, to_bytes
from astec.server.rpc.open_calls import Call, OpenCalls
from astec.server.rpc.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from astec.server.rpc.statuses import CallError

SERVICE = "grpc.health.v1.Health"


class HealthService:
    """The calls of the service, of which `Watch` is left out: clients then take the server for healthy.

    Args:
        inference: The service whose health is asked for.
    """

    def __init__(self, inference: InferenceService) -> None:
        self._inference = inference

    def handlers(self, open_calls: OpenCalls) -> dict[str, grpc.RpcMethodHandler]:
        """Return what answers each call, by the name of its method."""
        return {"Check": grpc.unary_unary_rpc_method_handler(open_calls.answering(SERVICE, "Check", self.check))}

    async def check(self, content: bytes, call: Call) -> bytes:
        """Answer whether the server takes queries: not while it shuts down.

        Raises:
            CallError: The server does not have the service that is asked for.
        """
        asked = read_message(HealthCheckRequest, content).service
        if asked not in ("", INFERENCE, SERVICE):
            raise CallError(grpc.StatusCode.NOT_FOUND, f"This server has the services {INFERENCE} and {SERVICE} only.")
        is_ready = self._inference.is_ready()
        status = HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING
        return to_bytes(HealthCheckResponse(status=status))
