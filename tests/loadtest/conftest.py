import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

SERVER_TIMING = "queue;dur=0.25, score;dur=1.5"


async def answer_at_once(number, payload):
    return 200


class ScriptedServer:
    """A real HTTP server on a free port, in a thread of its own, that answers POST /predict by a script.

    `script(number, payload)` gets the number of the request (from 0; the probe of a run is 0) and its JSON, and may
    delay or hang; it returns a status, or a status and a body, or None to drop the connection. `payloads` holds the
    requests so far, `arrived` is set by the first request after the probe, `connections` is the number of connections.
    """

    def __init__(self, script: Callable[[int, dict], Awaitable[int | tuple[int, bytes] | None]]) -> None:
        self.script = script
        self.payloads: list[dict] = []
        self.connections = 0
        self.arrived = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        self._open: set[Any] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._done.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader, writer):
        self.connections += 1
        self._open.add(asyncio.current_task())
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed the connection
        finally:
            self._open.discard(asyncio.current_task())
            writer.transport.abort()

    async def _exchange(self, reader, writer):
        """Answer one request; return whether another may follow on the connection."""
        request, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lengths = [field.split(":")[1] for field in fields if field.lower().startswith("content-length:")]
        payload = json.loads(await reader.readexactly(int(lengths[0])))
        reply: int | tuple[int, bytes] | None = 404
        if request.startswith("POST /predict "):
            number = len(self.payloads)
            self.payloads.append(payload)
            if number:
                self.arrived.set()
            reply = await self.script(number, payload)
        if reply is None:
            return False
        status, body = (reply, b'{"predictions": []}') if isinstance(reply, int) else reply
        head = f"HTTP/1.1 {status} Reason\r\nServer-Timing: {SERVER_TIMING}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return True


@pytest.fixture
def serve():
    """Start a scripted server for the rest of the test."""
    running = []

    def start(script=answer_at_once):
        running.append(ScriptedServer(script).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def queries_file(tmp_path):
    path = tmp_path / "queries.txt"
    path.write_text("red running shoes\nblue suede shoes\ncheap flights to rome\n", encoding="utf-8")
    return path
