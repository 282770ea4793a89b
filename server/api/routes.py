"""The endpoints beside `/predict`, and the OpenAPI documentation of all endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from astec.server.access.access_control import AccessControl
from astec.server.api.predict import PredictEndpoint, require_ready
from astec.server.api.predict_stream import MEDIA_TYPE as NDJSON
from astec.server.api.predict_stream import PredictStreamEndpoint
from astec.server.api.schema import ModelDescription, PredictAnswer, Status
from astec.server.engine.models.served_models import ServedModels
from astec.server.engine.upstream.ranking_service import RankingService
from astec.server.errors import MEDIA_TYPE, ForbiddenError, Problem, UnavailableError, UnknownModelError
from astec.server.metrics.board import Metrics
from astec.server.metrics.exposition import choose_format, render_exposition

PREDICT_PATH = "/predict"
STREAM_PATH = "/predict/stream"
MODEL_PATH = "/v1/model"
RELOAD_PATH = "/v1/model/reload"
_MODEL_PARAMETER = {
    "name": "model",
    "in": "query",
    "description": "Name of one of several models; left out: the first.",
    "schema": {"type": "string"},
}
GUARDED_PATHS = (PREDICT_PATH, STREAM_PATH, MODEL_PATH, RELOAD_PATH)


class DirectRoute(APIRoute):
    """A route that calls its endpoint directly: FastAPI documents it, but does not solve dependencies or validate."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        return self.endpoint


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the errors an endpoint may answer."""
    reasons = {
        400: "The body is not JSON, or not UTF-8",
        401: "The server asks for a key, and the request has none that it knows",
        403: "The key is not the operator's, or the server has no keys, and so no operator",
        404: "No such model is served, or this path is on the port for operators only",
        413: "The body is too large",
        415: "The body has a content coding that is not decoded; the header Accept-Encoding names those that are",
        422: "A field is invalid",
        429: "The queue is full, or the key has reached its rate limit",
        503: "The model is loading, or the server is shutting down",
        504: "The deadline passed",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    # `model` puts the schema into the components; `content` gives it the right media type.
    return {
        status: {"model": Problem, "description": reasons[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def predict_route(predict: PredictEndpoint) -> APIRoute:
    """Return the route that documents `/predict`, and hands requests over."""
    route = APIRoute(
        PREDICT_PATH,
        predict.describe,
        name="predict",
        description="Answers with `predictions` to a `query`, and with `results` to `queries`.",
        methods=["POST"],
        summary="Rank labels for one query or several",
        response_model=PredictAnswer,
        response_description="Labels, best first. `Server-Timing` has the milliseconds of each stage.",
        responses=_problems(400, 401, 413, 415, 422, 429, 503, 504),
        generate_unique_id_function=lambda route: route.name,
    )
    route.app = predict
    return route


def stream_route(stream: PredictStreamEndpoint) -> APIRoute:
    """Return the route that documents `/predict/stream`, and hands requests over."""
    lines = {NDJSON: {"schema": {"type": "string"}, "example": '"red running shoes"\n{"query": "hose", "top_k": 3}\n'}}
    route = APIRoute(
        STREAM_PATH,
        stream.describe,
        name="predict_stream",
        description="Takes a line for each request to `/predict`, or a JSON string for a query, and answers with a "
        "line each, in order, while more is sent. One that fails gets a problem document with its number as `line`.",
        methods=["POST"],
        summary="Rank labels for a stream of queries",
        response_class=Response,
        response_description="A line for each line that is not blank.",
        responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}, **_problems(401, 415, 503)},
        openapi_extra={"requestBody": {"required": True, "content": lines}},
        generate_unique_id_function=lambda route: route.name,
    )
    route.app = stream
    return route


router = APIRouter(route_class=DirectRoute)


@router.get("/healthz", summary="Is the process alive?", response_model=Status)
async def healthz(request: Request) -> Response:
    """Answer as long as the event loop runs."""
    return _json({"status": "alive"})


@router.get("/readyz", summary="Does the server take queries?", response_model=Status, responses=_problems(503))
async def readyz(request: Request) -> Response:
    """Answer 503 until a real prediction has succeeded, and while the server shuts down."""
    require_open(request.app.state.service)
    return _json({"status": "ready"})


@router.get(
    MODEL_PATH,
    summary="What is served?",
    response_model=ModelDescription,
    responses=_problems(401, 404, 503),
    openapi_extra={"parameters": [_MODEL_PARAMETER]},
)
async def model(request: Request) -> Response:
    """Answer with the public part of the artifact's manifest, and a few queries to try as `examples`.

    `served_as` is the name that was given to the model where the server was started.
    """
    access_control: AccessControl | None = request.app.state.access_control
    if access_control is not None:
        access_control.client_of(request.scope["headers"])
    models: ServedModels = request.app.state.models
    require_ready(models.first)
    name = request.query_params.get("model")
    index = 0 if name is None else models.find(name)
    if index is None:
        raise UnknownModelError("No model of this name is served here; GET /v2/models tells which ones are.")
    service = models.services[index]
    served_as = {"served_as": service.model_name["name"]} if service.is_named else {}
    return _json(service.describe() | served_as)


@router.post(
    RELOAD_PATH,
    summary="Serve what the path of the artifact leads to now",
    status_code=202,
    response_model=Status,
    response_description="It has begun. `/v1/model` and `astec_reloads_total` tell how it ends.",
    responses=_problems(401, 403, 404),
)
async def reload(request: Request) -> Response:
    """Replace the workers one by one if the next artifact is valid; until then they serve the previous one."""
    require_admin_port(request)
    access_control: AccessControl | None = request.app.state.access_control
    ask_for_reload: Callable[[], None] | None = request.app.state.ask_for_reload
    if access_control is None or ask_for_reload is None:
        raise ForbiddenError(
            "No client may reload the model of this server. Start it with a file of keys, or send it SIGHUP."
        )
    access_control.require_operator(request.scope["headers"])
    ask_for_reload()
    return _json({"status": "accepted"}, 202)


_EXPOSITION: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get(
    "/metrics", summary="Prometheus metrics", response_class=Response, responses={**_EXPOSITION, **_problems(404)}
)
async def metrics(request: Request) -> Response:
    """Answer with the metrics of all workers in Prometheus' text format, or as OpenMetrics if `Accept` asks for it."""
    require_admin_port(request)
    recorded: Metrics = request.app.state.metrics
    # On a thread, because the kernel takes milliseconds to add up the memory of a large process.
    write, media_type = choose_format(request.headers.get("accept", ""))
    return Response(await asyncio.to_thread(render_exposition, recorded, write), headers={"Content-Type": media_type})


def require_open(service: RankingService) -> None:
    """Raise UnavailableError unless the service accepts queries of new clients."""
    require_ready(service)
    if service.state == "draining":
        raise UnavailableError("The server is shutting down; it still answers on open connections.")
    if missing := service.missing_shards():
        raise UnavailableError(missing)


def require_admin_port(request: Request) -> None:
    """Raise 404 if the server has a port for operators and the request came on another port.

    The port is read from the connection's socket, not from a header that the client writes.
    """
    admin_port: int | None = request.app.state.admin_port
    if admin_port is not None and (request.scope["server"] or ("", None))[1] != admin_port:
        raise HTTPException(404)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
