"""Both clients with one interface, a clock that only sleeping advances, and an HTTP server that follows a script."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from astec.server.client import AstecClient, AsyncAstecClient, RetryPolicy

PATIENCE_S = 60.0
ANSWER = {"model": {"name": "m", "version": "1"}, "predictions": [{"label_id": 3, "label": "c", "score": 0.5}]}


class BlockingClient:
    """The asynchronous client with blocking methods, each of which runs an event loop until the call is done."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncAstecClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


Client = AstecClient | BlockingClient


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Return a function that makes a client, synchronous or asynchronous; the clients are closed after the test."""
    clients: list[Client] = []

    def make(*arguments: Any, **options: Any) -> Client:
        clients.append((AstecClient if request.param == "sync" else BlockingClient)(*arguments, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@dataclass
class Clock:
    """A clock that only sleeping advances."""

    now_s: float = 1000.0
    slept_s: list[float] = field(default_factory=list)

    def read(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        self.now_s += wait_s

    async def sleep_async(self, wait_s: float) -> None:
        self.sleep(wait_s)

    def policy(self, **options: Any) -> RetryPolicy:
        """Return a policy on this clock whose waits are half of the longest possible wait."""
        return RetryPolicy(jitter=lambda: 0.5, monotonic_s=self.read, epoch_s=self.read, **options)


class Patient(NamedTuple):
    """A function that makes clients, and the clock that they use."""

    connect: Callable[..., Client]
    clock: Clock


@pytest.fixture
def patient(connect: Callable[..., Client], request: pytest.FixtureRequest) -> Patient:
    """Return a maker of clients that sleep on the clock: `patient.connect(url, deadline_s=5)`."""
    clock = Clock()
    is_sync = request.node.callspec.params["connect"] == "sync"
    sleep = clock.sleep if is_sync else clock.sleep_async

    def make(url: str, *, policy: dict[str, Any] | None = None, **options: Any) -> Client:
        return connect(url, retry=clock.policy(**policy or {}), sleep=sleep, **options)

    return Patient(make, clock)


class Reply(NamedTuple):
    """A response of the scripted server; `wait_for` is called between its head and its body."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  (never written to)
    content: bytes = json.dumps(ANSWER).encode()
    wait_for: Callable[[], object] | None = None


RESET = Reply(0)


def problem(status: int, **headers: str) -> Reply:
    """Return an error response as the real server sends it; `Retry_After="3"` becomes a header."""
    document = {"type": "urn:astec:problem:x", "title": "Title", "status": status, "detail": "The detail."}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps(document).encode())


class Received(NamedTuple):
    """A request that the scripted server has received."""

    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer(ThreadingHTTPServer):
    """A server that sends the replies of a script, one for each request; it repeats the last one."""

    daemon_threads = True

    def __init__(self, *script: Reply) -> None:
        super().__init__(("127.0.0.1", 0), ScriptedHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: list[Received] = []
        self._script = script

    def next_reply(self, received: Received) -> Reply:
        self.received.append(received)
        return self._script[min(len(self.received), len(self._script)) - 1]


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        reply = self.server.next_reply(received)
        if reply is RESET:
            # Closed with a linger of zero seconds, a socket sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        if reply.wait_for is not None:
            reply.wait_for()
        with suppress(ConnectionError):  # The client has left.
            self.wfile.write(reply.content)

    do_POST = do_GET  # noqa: N815  (the name that http.server looks for)

    def log_message(self, *_: object) -> None:
        """Log nothing: the tests read the received requests."""


@pytest.fixture
def script() -> Iterator[Callable[..., ScriptedServer]]:
    """Return a function that starts a server with a script: `script(problem(429), Reply())`."""
    servers: list[ScriptedServer] = []

    def start(*replies: Reply) -> ScriptedServer:
        servers.append(ScriptedServer(*replies))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
