"""A server in the process of a test, on a real socket."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from astec.export.artifact.store import Artifact
from astec.server.access.access_control import AccessControl, open_access_control
from astec.server.app import AstecApi, Observers, create_app
from astec.server.http.listeners import open_listeners
from astec.server.http.protocol import BoundedHttp
from astec.server.metrics.board import MetricsBoard
from astec.server.metrics.exposition import render_exposition
from astec.server.settings import Settings
from astec.server.tracing.opening import open_tracer
from astec.server.tracing.trace_config import read_trace_config
from tests.server.raw_connection import Connection

FAR_MS = 60_000
"""No deadline passes within it in a test."""


def post(body: bytes, *fields: bytes, target: bytes = b"/predict", length: int | None = None) -> bytes:
    head = [b"POST %b HTTP/1.1" % target, b"Host: t", b"Content-Length: %d" % (length or len(body)), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class CountingApi:
    """The application of a server; it counts the requests that reach it by ASGI."""

    def __init__(self, app: AstecApi) -> None:
        self.app = app
        self.requests = 0

    async def __call__(self, scope, receive, send) -> None:
        self.requests += scope["type"] == "http"
        await self.app(scope, receive, send)


class Running:
    def __init__(self, app: CountingApi, server: uvicorn.Server, address: tuple[str, int]) -> None:
        self.app, self.server, self.address = app, server, address
        self.connections: list[Connection] = []

    async def connect(self) -> Connection:
        self.connections.append(Connection(*await asyncio.open_connection(*self.address)))
        return self.connections[-1]

    def metrics(self) -> str:
        return render_exposition(self.app.app.state.metrics).decode()

    async def until(self, series: str) -> None:
        while series not in self.metrics():
            await asyncio.sleep(0.001)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the only inference thread busy, so that queries wait."""
        release = threading.Event()
        self.app.app.state.service.threads.run(release.wait, None)
        try:
            yield
        finally:
            release.set()


@asynccontextmanager
async def running(
    artifact: Artifact, http=BoundedHttp, graceful_s: int | None = None, **knobs
) -> AsyncIterator[Running]:
    settings = Settings(artifact=artifact.path, inference_threads=1, inline_batch_us=0, **knobs)
    keys: AccessControl | None = open_access_control(settings)
    metrics, traced = MetricsBoard(1).metrics(0), read_trace_config(settings)
    tracer = None if traced is None else open_tracer(traced, [artifact], metrics)
    app = CountingApi(create_app(settings, artifact, metrics, keys, observers=Observers(tracer=tracer)))
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    config = uvicorn.Config(app, http=http, log_config=None, access_log=False, timeout_graceful_shutdown=graceful_s)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    address = listener.getsockname()
    while not server.started:
        await asyncio.sleep(0.001)
    ours = Running(app, server, address)
    try:
        yield ours
    finally:
        for connection in ours.connections:
            connection.writer.close()
        server.should_exit = True
        await serving
