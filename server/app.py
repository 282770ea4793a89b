"""The ASGI application: settings in, a FastAPI app that opens, serves and drains its model out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from server.api import router
from server.errors import MEDIA_TYPE, install_error_handlers
from server.metrics import Metrics
from server.middleware import BodyLimit, RequestMetrics
from server.service import Service
from server.settings import Settings

API_VERSION = "1"
DESCRIPTION = "Matches short texts to the most relevant of up to millions of labels (DeepXML/Astec)."


class AstecApi(FastAPI):
    """FastAPI whose errors have one media type in the schema, as they have on the wire."""

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


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it opens the artifact when it starts, not here."""
    app = AstecApi(
        title="astec",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.service = None
    app.include_router(router)
    install_error_handlers(app)
    # The last one added is the outermost: the metrics count what the body limit refuses.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestMetrics, metrics=app.state.metrics)
    return app


def create_app_from_environment() -> FastAPI:
    """Return the application with the settings of the environment, for `uvicorn --factory` and its workers."""
    return create_app(Settings.model_validate({}))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = await Service.start(app.state.settings, app.state.metrics)
    app.state.service = service
    try:
        yield
    finally:
        await service.stop()
