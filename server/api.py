"""The endpoints and the JSON they speak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from importlib.resources import files
from typing import Annotated, Any, Self

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from export.artifact.featurizer import Bag, Query
from server.batcher import Answer
from server.errors import MEDIA_TYPE, FieldError, InvalidFieldError, Problem, UnavailableError
from server.hangup import Hangup
from server.metrics import Metrics
from server.service import Ask, Ranked, Service
from server.settings import Settings

PLAYGROUND = files("server").joinpath("static", "index.html").read_bytes()
PLAYGROUND_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)


class RequestModel(BaseModel):
    """What a client sends: unknown fields and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Features(RequestModel):
    """A query as feature ids, for models trained on pre-featurised data."""

    ids: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field(description="Distinct feature ids.")
    weights: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        default=None, description="One weight per id; 1 each where left out."
    )

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(f"There are {len(self.ids)} ids but {len(self.weights)} weights; give one weight per id")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("The ids repeat; add up the weights of equal ids")
        return self


def _query_kind(value: object) -> str | None:
    if isinstance(value, str):
        return ":text"
    return ":features" if isinstance(value, dict | Features) else None


QueryJson = Annotated[
    Annotated[str, Tag(":text")] | Annotated[Features, Tag(":features")],
    Discriminator(
        _query_kind,
        custom_error_type="query_kind",
        custom_error_message="A query is a string, or an object with ids and weights",
    ),
]


class PredictRequest(RequestModel):
    """One `query` or several `queries`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "red running shoes size 42"},
                {"queries": ["red running shoes", "garden hose 20 m"], "top_k": 3, "min_score": 0.2},
            ]
        }
    )

    query: QueryJson | None = Field(default=None, description="A text, or feature ids for models that take those.")
    queries: list[QueryJson] | None = Field(default=None, min_length=1, description="Queries, answered in order.")
    top_k: int = Field(default=5, ge=1, le=100, description="Most labels per query.")
    min_score: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="Labels below it are left out.")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError('Give exactly one of "query" and "queries"')
        return self


class ModelName(BaseModel):
    """The model that answered."""

    name: str
    version: str


class Prediction(BaseModel):
    """A label and its score, between 0 and 1."""

    label_id: int
    label: str
    score: float


class Predictions(BaseModel):
    """The labels of one query, best first; empty where no token of the query is known."""

    predictions: list[Prediction]


class SingleResponse(Predictions):
    """The answer to `query`."""

    model: ModelName


class BatchResponse(BaseModel):
    """The answer to `queries`, in their order."""

    model: ModelName
    results: list[Predictions]


class Status(BaseModel):
    """How the server is."""

    status: str


class DirectRoute(APIRoute):
    """A route that hands the body to pydantic as bytes and nothing to FastAPI's dependency solver.

    FastAPI still documents the endpoint from its signature; on the request path it would take longer than a prediction.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        endpoint: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint
        if self.body_field is None:
            return endpoint
        model: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]

        async def parse_and_answer(request: Request) -> Response:
            return await endpoint(request, model.model_validate_json(await request.body()))

        return parse_and_answer


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the errors an endpoint may answer."""
    reasons = {
        400: "The body is not JSON, or not UTF-8",
        413: "The body is too large",
        422: "A field is invalid",
        429: "The queue is full",
        503: "The model is loading, or the server is shutting down",
        504: "The deadline passed",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    # The model puts the schema into the components; the content names the right media type for it.
    return {
        status: {"model": Problem, "description": reasons[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


router = APIRouter(route_class=DirectRoute)


@router.post(
    "/predict",
    summary="Rank labels for one query or several",
    response_model=SingleResponse | BatchResponse,
    response_description="Labels, best first. `Server-Timing` has the milliseconds of each stage.",
    responses=_problems(400, 413, 422, 429, 503, 504),
)
async def predict(request: Request, body: PredictRequest) -> Response:
    """Answer with `predictions` to a `query`, and with `results` to `queries`."""
    service = _ready_service(request)
    queries = [body.query] if body.query is not None else body.queries or []
    asks = _to_asks(queries, body, service, request.app.state.settings)
    with Hangup(request.receive):
        answers = await service.rank(asks)
    results = [{"predictions": _to_predictions(answer.result)} for answer in answers]
    content = {"model": service.model_name, **(results[0] if body.query is not None else {"results": results})}
    return _json(content, headers={"Server-Timing": server_timing(answers)})


@router.get("/healthz", summary="Is the process alive?", response_model=Status)
async def healthz(request: Request) -> Response:
    """Answer as long as the event loop turns."""
    return _json({"status": "alive"})


@router.get("/readyz", summary="Does the server take queries?", response_model=Status, responses=_problems(503))
async def readyz(request: Request) -> Response:
    """Answer 503 until a real prediction has passed, and while the server shuts down."""
    _ready_service(request)
    return _json({"status": "ready"})


@router.get("/v1/model", summary="What is served?", response_model=dict[str, Any], responses=_problems(503))
async def model(request: Request) -> Response:
    """Answer with the public part of the artifact's manifest."""
    return _json(_ready_service(request).artifact.manifest.public())


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answer in Prometheus' text format; reads many files where there are several workers, hence the thread."""
    recorded: Metrics = request.app.state.metrics
    return Response(await asyncio.to_thread(recorded.exposition), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/", include_in_schema=False)
async def playground(request: Request) -> Response:
    """Answer with a page to try queries on."""
    return HTMLResponse(PLAYGROUND, headers={"Content-Security-Policy": PLAYGROUND_POLICY})


def server_timing(answers: Sequence[Answer[Ranked]]) -> str:
    """Return the `Server-Timing` header in milliseconds: the longest queueing, and each stage over all batches."""
    batches = {id(answer.result.stages): answer.result.stages for answer in answers}.values()
    times_s = {
        "queue": max(answer.queue_s for answer in answers),
        "featurize": sum(stages.featurize_s for stages in batches),
        "encode": sum(stages.encode_s for stages in batches),
        "shortlist": sum(stages.shortlist_s for stages in batches),
        "score": sum(stages.score_s for stages in batches),
    }
    return ", ".join(f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in times_s.items())


def _ready_service(request: Request) -> Service:
    service: Service | None = request.app.state.service
    if service is None:
        raise UnavailableError("The model is loading.")
    if service.draining:
        raise UnavailableError("The server is shutting down.")
    return service


def _to_asks(
    queries: Sequence[str | Features], body: PredictRequest, service: Service, settings: Settings
) -> list[Ask]:
    """Check what depends on the settings and the model, and name every field that fails."""
    if len(queries) > settings.max_queries:
        message = f"{len(queries)} queries are more than the limit of {settings.max_queries}; split the request"
        raise InvalidFieldError([FieldError(field="queries", message=message)])
    asks: list[Ask] = []
    errors: list[FieldError] = []
    for position, query in enumerate(queries):
        try:
            asks.append(Ask(_to_query(query, service, settings), body.top_k, body.min_score))
        except ValueError as error:
            field = "query" if body.query is not None else f"queries.{position}"
            errors.append(FieldError(field=field, message=str(error)))
    if errors:
        raise InvalidFieldError(errors)
    return asks


def _to_query(query: str | Features, service: Service, settings: Settings) -> Query:
    if isinstance(query, str):
        _check_length(len(query), settings.max_query_chars, "characters")
        converted: Query = query
    else:
        _check_length(len(query.ids), settings.max_query_features, "ids")
        ids = np.array(query.ids, dtype=np.int32)
        weights = np.ones(len(ids)) if query.weights is None else np.array(query.weights)
        with np.errstate(over="ignore"):  # what becomes infinite is refused by `check`
            converted = Bag(ids, weights.astype(np.float32))
    service.check(converted)
    return converted


def _check_length(length: int, limit: int, unit: str) -> None:
    if length > limit:
        raise ValueError(f"The query has {length} {unit}; the limit is {limit}")


def _to_predictions(ranked: Ranked) -> list[dict[str, object]]:
    return [
        {"label_id": label_id, "label": label, "score": score}
        for label_id, label, score in zip(ranked.label_ids.tolist(), ranked.labels, ranked.scores, strict=True)
    ]


def _json(content: object, headers: dict[str, str] | None = None) -> Response:
    # numpy's float32 in its own shortest form: 0.7310586, not the 0.7310585975646973 of the nearest double.
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type="application/json")
