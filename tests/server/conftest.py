from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from export.artifact.store import Artifact, open_artifact
from server.app import create_app
from server.metrics import MetricsBoard
from server.settings import Settings

Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture(scope="session")
def opened_artifact(demo_artifact: Path) -> Artifact:
    """The demo artifact, open."""
    return open_artifact(demo_artifact)


@pytest.fixture
def serve(opened_artifact: Artifact, serving: Callable[[Artifact], Serve]) -> Serve:
    """Serves the demo artifact in this process: `async with serve(queue_capacity=1) as (app, client)`."""
    return serving(opened_artifact)


@pytest.fixture(scope="session")
def serving() -> Callable[[Artifact], Serve]:
    """Serves any artifact like that."""
    return _serving


def _serving(artifact: Artifact) -> Serve:
    @asynccontextmanager
    async def running(**knobs: int) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        settings = Settings(artifact=artifact.path, **knobs)
        app = create_app(settings, artifact, MetricsBoard(1).metrics(0))
        # What the application raises, the client must see as a response: that is what is tested.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield app, client

    return running
