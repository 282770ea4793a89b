"""The endpoints of the Open Inference Protocol, version 2, for the clients of KServe and Triton.

Shapes: N queries, K ranks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from astec.server.access.access_control import AccessControl
from astec.server.api.open_inference.request import HEADER, ParsedInferRequest, parse_infer_request
from astec.server.api.open_inference.schema import (
    InferRequest,
    InferResponse,
    Live,
    ModelList,
    ModelMetadata,
    ModelReady,
    OutputName,
    Ready,
    ServedModel,
    ServerMetadata,
    TensorMetadata,
)
from astec.server.api.open_inference.tensors import Datatype, Elements, pack
from astec.server.api.predict import PredictEndpoint, caller_of, require_ready, server_timing
from astec.server.api.request_body import read_body
from astec.server.api.routes import DirectRoute, require_open
from astec.server.engine.models.served_models import ServedModels
from astec.server.engine.rank_request import RankedLabels, RankResult
from astec.server.engine.service import Service
from astec.server.errors import OPEN_INFERENCE_PATH, ProtocolError, UnknownModelError
from astec.server.settings import Settings

MODELS_PATH = f"{OPEN_INFERENCE_PATH}/models"
MODEL_PATHS = (f"{MODELS_PATH}/{{name}}", f"{MODELS_PATH}/{{name}}/versions/{{version}}")
GUARDED_PATHS = (MODELS_PATH, *[path + suffix for path in MODEL_PATHS for suffix in ("", "/infer")])

_BINARY = "application/octet-stream"
_DATATYPES: dict[OutputName, Datatype] = {"labels": "BYTES", "label_ids": "INT64", "scores": "FP32"}
_MAX_INLINE_LABELS = 5_000  # Each takes about a microsecond to write; this many may block the event loop, for 5 ms.
_INPUT_METADATA = [
    TensorMetadata(name="query", datatype="BYTES", shape=[-1]),
    TensorMetadata(name="top_k", datatype="INT32", shape=[1]),
]
_OUTPUT_METADATA = [
    TensorMetadata(name=name, datatype=datatype, shape=[-1, -1]) for name, datatype in _DATATYPES.items()
]
_REASONS = {
    400: "The request is not what the protocol or the model takes",
    401: "The server asks for a key, and the request has none that it knows",
    404: "No such model or version is served",
    413: "The body is too large",
    415: "The body has a content coding that is not decoded; the header Accept-Encoding names those that are",
    429: "The queue is full, or the key has reached its rate limit",
    503: "The model is loading, or the server is shutting down",
    504: "The deadline passed",
}


class OpenInferenceEndpoints:
    """The endpoints of the protocol.

    Args:
        models: Rank the labels.
        predict: The endpoint `/predict`, which checks and charges these requests like its own.
        settings: The server's settings.
        access_control: Checks keys; None: everybody may ask.
        server_version: The version of the API.
    """

    def __init__(
        self,
        models: ServedModels,
        predict: PredictEndpoint,
        settings: Settings,
        access_control: AccessControl | None,
        server_version: str,
    ) -> None:
        self._models = models
        self._predict = predict
        self._access_control = access_control
        self._server_version = server_version
        self._max_body_bytes = settings.max_body_bytes
        self._max_queries = settings.max_queries

    def routes(self) -> list[APIRoute]:
        """Return the route of each endpoint; endpoints of a model have a second route with the version in its path."""
        root = OPEN_INFERENCE_PATH
        routes = [
            _get(root, self.server, ServerMetadata, "What serves?"),
            _get(f"{root}/health/live", self.live, Live, "Is the process alive?"),
            _get(f"{root}/health/ready", self.ready, Ready, "Does the server take queries?", 503),
            _get(MODELS_PATH, self.list_models, ModelList, "Which models are served?", 401, 503),
        ]
        for path in MODEL_PATHS:
            routes += [
                _get(path, self.model, ModelMetadata, "What are the model's inputs and outputs?", 401, 404, 503),
                _get(f"{path}/ready", self.model_ready, ModelReady, "Does the model take queries?", 404, 503),
                _infer_route(f"{path}/infer", self.infer),
            ]
        return routes

    async def server(self, request: Request) -> Response:
        """Answer with name, version and extensions of the server."""
        return _json(ServerMetadata(name="astec", version=self._server_version, extensions=["binary_tensor_data"]))

    async def live(self, request: Request) -> Response:
        """Answer as long as the event loop runs."""
        return _json(Live(live=True))

    async def ready(self, request: Request) -> Response:
        """Answer 503 until a real prediction has succeeded, and while the server shuts down."""
        require_open(self._models.first)
        return _json(Ready(ready=True))

    async def list_models(self, request: Request) -> Response:
        """Answer with the names of all models, and what each of them does."""
        self._client_of(request)
        require_ready(self._models.first)
        served = [
            ServedModel(**service.model_name, share=share, shadow=position == self._models.shadow_model)
            for position, (service, share) in enumerate(zip(self._models.services, self._models.shares, strict=True))
        ]
        return _json(ModelList(models=[model.name for model in served], served=served))

    async def model_ready(self, request: Request) -> Response:
        """Answer like `ready`, for a model that is served."""
        service = self._service_of(request)
        require_open(self._models.first)
        return _json(ModelReady(name=service.model_name["name"], ready=True))

    async def model(self, request: Request) -> Response:
        """Answer with the model's inputs and outputs."""
        self._client_of(request)
        service = self._service_of(request)
        require_ready(self._models.first)
        return _json(
            ModelMetadata(
                name=service.model_name["name"],
                versions=[service.model_name["version"]],
                platform="astec",
                inputs=_INPUT_METADATA,
                outputs=_OUTPUT_METADATA,
            )
        )

    async def infer(self, request: Request) -> Response:
        """Rank labels for the texts of the input `query`, and answer with tensors of [N, K].

        If a query has fewer than K labels, its row ends with empty texts, ids of -1 and scores of 0. Inputs and
        outputs may be bytes after the JSON (the binary tensor data extension).
        """
        client = self._client_of(request)
        service = self._service_of(request)
        require_ready(self._models.first)
        body = await read_body(request.scope, request.receive, self._max_body_bytes)
        parsed = parse_infer_request(body, request.headers.get(HEADER), self._max_queries)
        named = parsed.request.model_copy(update={"model": service.model_name["name"]})
        requests = self._predict.admit(named, client, "arrays")
        answers = await self._predict.rank(requests, caller_of(request.receive))
        self._predict.log(request.scope, requests, answers.results)
        write = partial(self._to_response, service, parsed, answers.results)
        is_short = len(requests) * parsed.request.top_k <= _MAX_INLINE_LABELS
        response = write() if is_short else await asyncio.to_thread(write)
        response.headers["Server-Timing"] = server_timing(answers).decode()
        return response

    def _client_of(self, request: Request) -> str:
        return "" if self._access_control is None else self._access_control.client_of(request.scope["headers"])

    def _service_of(self, request: Request) -> Service:
        """Return the service of the model that the path names, maybe with its version."""
        for service in self._models.services:
            if request.path_params.items() <= service.model_name.items():
                return service
        raise UnknownModelError("No such model or version is served here; GET /v2/models tells which ones are.")

    def _to_response(self, service: Service, parsed: ParsedInferRequest, results: Sequence[RankResult]) -> Response:
        top_k = parsed.request.top_k
        elements = _elements([result.labels for result in results], top_k)
        outputs: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name, is_binary in parsed.outputs.items():
            output = {"name": name, "datatype": _DATATYPES[name], "shape": [len(results), top_k]}
            if is_binary:
                tail.append(pack(_DATATYPES[name], elements[name]))
                outputs.append({**output, "parameters": {"binary_data_size": len(tail[-1])}})
            else:
                outputs.append({**output, "data": elements[name]})
        model = {f"model_{key}": value for key, value in service.model_name.items()}
        echo = {} if parsed.id is None else {"id": parsed.id}
        head = orjson.dumps({**model, **echo, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tail:
            return Response(head, media_type="application/json")
        return Response(b"".join([head, *tail]), media_type=_BINARY, headers={HEADER: str(len(head))})


def _elements(rankings: Sequence[RankedLabels], top_k: int) -> dict[OutputName, Elements]:
    """Return the N * K elements of each output, in row-major order.

    If a query has fewer than K labels, its row ends with empty texts, ids of -1 and scores of 0.
    """
    texts: list[str] = []
    label_ids_NK = np.full((len(rankings), top_k), -1, np.int64)
    scores_NK = np.zeros((len(rankings), top_k), np.float32)
    for row, labels in enumerate(rankings):
        found = len(labels.texts)
        texts += labels.texts + [""] * (top_k - found)
        label_ids_NK[row, :found] = labels.label_ids
        scores_NK[row, :found] = np.fmax(labels.scores, 0)  # NaN becomes 0, as in the JSON of the native API.
    return {"labels": texts, "label_ids": label_ids_NK.ravel(), "scores": scores_NK.ravel()}


def _json(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), media_type="application/json")


Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def _get(path: str, endpoint: Endpoint, model: type[BaseModel], summary: str, *errors: int) -> APIRoute:
    return DirectRoute(
        path,
        endpoint,
        methods=["GET"],
        name=_operation(path),
        summary=summary,
        response_model=model,
        responses=_errors(*errors),
        openapi_extra={"parameters": _path_parameters(path)},
        generate_unique_id_function=lambda route: route.name,
    )


def _infer_route(path: str, endpoint: Endpoint) -> APIRoute:
    request = {"schema": {"$ref": f"#/components/schemas/{InferRequest.__name__}"}}
    return DirectRoute(
        path,
        endpoint,
        methods=["POST"],
        name=_operation(path),
        summary="Rank labels for the texts of a tensor",
        response_model=InferResponse,
        response_description=f"Labels, best first. With outputs in bytes `{HEADER}` tells where the JSON ends.",
        responses={200: {"content": {_BINARY: {}}}, **_errors(400, 401, 404, 413, 415, 429, 503, 504)},
        openapi_extra={
            "parameters": _path_parameters(path),
            "requestBody": {"required": True, "content": {"application/json": request}},
        },
        generate_unique_id_function=lambda route: route.name,
    )


def _operation(path: str) -> str:
    """Return the name of an operation, for example `v2_models_name_infer`."""
    return "_".join(re.findall(r"\w+", path))


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ProtocolError, "description": _REASONS[status]} for status in statuses}
