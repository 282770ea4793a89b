import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

SERVER_TIMING = "queue;dur=0.25, score;dur=1.5"


async def answer_at_once(number, payload):
    return ok()


def ok():
    return web.json_response({"predictions": []}, headers={"Server-Timing": SERVER_TIMING})


class ScriptedServer:
    """A real HTTP server on a free port, on a thread of its own, that answers POST /predict as a script says.

    `script(number, payload)` gets the number of the request (from 0; the probe of a run is 0) and its JSON, and may
    delay, refuse or hang. `payloads` keeps what arrived, `arrived` is set by the first request after the probe.
    """

    def __init__(self, script: Callable[[int, dict], Awaitable[web.StreamResponse]]) -> None:
        self.script = script
        self.payloads: list[dict] = []
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
        app = web.Application()
        app.router.add_post("/predict", self._predict)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _predict(self, request):
        number = len(self.payloads)
        self.payloads.append(json.loads(await request.read()))
        if number:
            self.arrived.set()
        response = await self.script(number, self.payloads[-1])
        if response is None:
            request.transport.abort()
            return web.Response()
        return response


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
