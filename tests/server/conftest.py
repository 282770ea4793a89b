from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from server.app import create_app
from server.settings import Settings

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture
def serve(demo_artifact: Path) -> Serve:
    """Serves the demo artifact in this process: `async with serve(queue_capacity=1) as (app, client)`."""

    @asynccontextmanager
    async def running(**knobs: int) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        app = create_app(Settings(artifact=demo_artifact, **knobs))
        # What the application raises, the client must see as a response: that is what is tested.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield app, client

    return running
