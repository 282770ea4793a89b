"""The gRPC server of a worker: its port, its services, and how it starts and stops with the worker."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

# gRPC's library writes to stderr by itself, and not as JSON; what it reports is what a call that fails says, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

from astec.server.api.open_inference.calls import InferenceCalls
from astec.server.metrics.board import Metrics
from astec.server.rpc import health_service, inference_service
from astec.server.rpc.connections import send_clients_away
from astec.server.rpc.health_service import HealthService
from astec.server.rpc.inference_service import InferenceService
from astec.server.rpc.inference_stream import InferenceStream
from astec.server.rpc.open_calls import OpenCalls
from astec.server.settings import Settings
from astec.server.tracing.tracer import Tracer

logger = logging.getLogger(__name__)

# Clients that keep connections alive through proxies ping every 10 s or more rarely; gRPC's own limit is 5 minutes.
_MIN_PING_INTERVAL_MS = 10_000
# After so long without a word the server asks whether a client is still there; gRPC's own time is two hours.
_PING_AFTER_MS = 60_000
# The calls that are cut off get so long to tell their clients.
_CUT_OFF_S = 0.5


class RpcServer:
    """The gRPC server of one worker. Every worker has a listening socket of its own, all on one port.

    May be made before a fork; gRPC's threads begin with `start`.

    Args:
        settings: The server's settings, with the port.
        calls: What is answered, as over HTTP.
        metrics: Where calls are counted.
        makes_ids: Whether a call whose client sent no id gets one.
        tracer: Begins the spans of calls; None: there are no traces.
    """

    def __init__(
        self, settings: Settings, calls: InferenceCalls, metrics: Metrics, makes_ids: bool, tracer: Tracer | None
    ) -> None:
        self._host = settings.host
        self._port = settings.grpc_port or 0
        self._drain_s = settings.drain_timeout_s
        self._shutdown_s = settings.shutdown_timeout_s
        self._max_message_bytes = settings.max_body_bytes
        self._calls = calls
        self._metrics = metrics
        self._makes_ids = makes_ids
        self._tracer = tracer
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and answer.

        Raises:
            RuntimeError: The port is taken.
        """
        self._open_calls = OpenCalls(self._metrics, self._makes_ids, self._tracer)
        inference = InferenceService(self._calls)
        stream = InferenceStream(inference, self._open_calls)
        health = HealthService(inference)
        self._server = grpc.aio.server(options=self._options())
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    inference_service.SERVICE, inference.handlers(self._open_calls) | stream.handlers(self._open_calls)
                ),
                grpc.method_handlers_generic_handler(health_service.SERVICE, health.handlers(self._open_calls)),
            )
        )
        self._server.add_insecure_port(_address(self._host, self._port))
        await self._server.start()

    def drain(self) -> None:
        """Begin to stop: take no more connections, and send the clients of the open ones away."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())

    async def stop(self) -> None:
        """Return once the server has stopped: its calls are answered, or cut off after the shutdown timeout."""
        self.drain()
        assert self._stopping is not None  # noqa: S101  (`drain` has set it)
        await self._stopping

    async def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        cut_off = loop.call_later(self._shutdown_s, self._open_calls.cut_off)
        try:
            await send_clients_away(self._port, self._drain_s)
        except OSError as error:  # of a system without /proc
            logger.warning("clients of gRPC are not sent away before the server stops: %s", error)
        self._open_calls.closing.set()
        await self._server.stop(max(0, cut_off.when() - loop.time()) + _CUT_OFF_S)
        cut_off.cancel()

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
            ("grpc.keepalive_time_ms", _PING_AFTER_MS),
            # Pings on connections without a call, too, from both sides, and without an end.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]


def _address(host: str, port: int) -> str:
    """Return an address for gRPC, which would listen on every address of a name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    numeric = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4][0]
    return f"[{numeric}]:{port}" if family == socket.AF_INET6 else f"{numeric}:{port}"
