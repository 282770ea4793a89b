"""The ASGI application: an open artifact in, an app that warms up, serves and drains out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from export.artifact.store import Artifact
from server.api import PREDICT_PATH, predict_route, router
from server.errors import MEDIA_TYPE, install_error_handlers
from server.metrics import Metrics
from server.middleware import RequestMetrics
from server.prediction import Prediction
from server.service import Service
from server.settings import Settings

API_VERSION = "1"
DESCRIPTION = "Matches short texts to the most relevant of up to millions of labels (DeepXML/Astec)."


class AstecApi(FastAPI):
    """FastAPI, but what carries the load goes past it, and its errors have one media type in the schema."""

    def __init__(self, service: Service, prediction: Prediction, metrics: Metrics) -> None:
        super().__init__(
            title="astec",
            version=API_VERSION,
            description=DESCRIPTION,
            lifespan=_lifespan,
            generate_unique_id_function=lambda route: route.name,
        )
        self.state.service = service
        self.state.metrics = metrics
        self._prediction = prediction
        self._metrics = metrics
        self.include_router(router)
        self.router.routes.append(predict_route(prediction))
        install_error_handlers(self)
        self.add_middleware(RequestMetrics, metrics=metrics)

    def drain(self) -> None:
        """Say on `/readyz` that the server is about to stop; everything else goes on."""
        self.state.service.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; predictions without the middleware and the router, which take longer than they do."""
        if scope["type"] != "http" or scope["path"] != PREDICT_PATH or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500  # What the client gets if the application raises.
        try:
            status = await self._prediction.serve(scope, receive, send)
        finally:
            self._metrics.request_answered(PREDICT_PATH, status, time.perf_counter() - started_s)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI schema, without the media type that FastAPI adds to every response with a model."""
        schema = super().openapi()
        for path in schema["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    content = response.get("content", {})
                    if MEDIA_TYPE in content:
                        content.pop("application/json", None)
        return schema


def create_app(settings: Settings, artifact: Artifact, metrics: Metrics) -> AstecApi:
    """Return the application of one worker.

    It may be made before a fork: the model's session and the threads begin when it starts up. `/readyz` answers 200
    once real predictions have passed.

    Args:
        settings: The server's settings.
        artifact: The model, open.
        metrics: What this worker counts.
    """
    service = Service(settings, artifact, metrics)
    return AstecApi(service, Prediction(service, settings), metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.start()
    try:
        yield
    finally:
        await service.stop()
