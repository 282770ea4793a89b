"""The endpoints of the Open Inference Protocol, version 2, over HTTP, for the clients of KServe and Triton."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from astec.server.api.open_inference.calls import DATATYPES, InferenceCalls, outputs_of
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
)
from astec.server.api.open_inference.tensors import Elements, pack
from astec.server.api.predict import caller_of, missing_shards, require_ready, server_timing
from astec.server.api.request_body import read_body
from astec.server.api.routes import DirectRoute, require_open
from astec.server.engine.rank_request import RankResult
from astec.server.engine.upstream.ranking_service import RankingService
from astec.server.errors import OPEN_INFERENCE_PATH, ProtocolError

MODELS_PATH = f"{OPEN_INFERENCE_PATH}/models"
MODEL_PATHS = (f"{MODELS_PATH}/{{name}}", f"{MODELS_PATH}/{{name}}/versions/{{version}}")
GUARDED_PATHS = (MODELS_PATH, *[path + suffix for path in MODEL_PATHS for suffix in ("", "/infer")])

_BINARY = "application/octet-stream"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
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
        calls: What they answer.
    """

    def __init__(self, calls: InferenceCalls) -> None:
        self._calls = calls

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
        return _json(self._calls.server_metadata(["binary_tensor_data"]))

    async def live(self, request: Request) -> Response:
        """Answer as long as the event loop runs."""
        return _json(Live(live=True))

    async def ready(self, request: Request) -> Response:
        """Answer 503 until a real prediction has succeeded, and while the server shuts down."""
        require_open(self._calls.first)
        return _json(Ready(ready=True))

    async def list_models(self, request: Request) -> Response:
        """Answer with the names of all models, and what each of them does."""
        self._calls.client_of(request.scope["headers"])
        models = self._calls.models
        require_ready(models.first)
        served = [
            ServedModel(**service.model_name, share=share, shadow=position == models.shadow_model)
            for position, (service, share) in enumerate(zip(models.services, models.shares, strict=True))
        ]
        return _json(ModelList(models=[model.name for model in served], served=served))

    async def model_ready(self, request: Request) -> Response:
        """Answer like `ready`, for a model that is served."""
        service = self._calls.service_of(**request.path_params)
        require_open(self._calls.first)
        return _json(ModelReady(name=service.model_name["name"], ready=True))

    async def model(self, request: Request) -> Response:
        """Answer with the model's inputs and outputs."""
        self._calls.client_of(request.scope["headers"])
        return _json(self._calls.model_metadata(self._calls.service_of(**request.path_params)))

    async def infer(self, request: Request) -> Response:
        """Rank labels for the texts of the input `query`, and answer with tensors of [N, K].

        If a query has fewer than K labels, its row ends with empty texts, ids of -1, and scores and probabilities of
        0. Inputs and outputs may be bytes after the JSON (the binary tensor data extension).
        """
        calls = self._calls
        client = calls.client_of(request.scope["headers"])
        service = calls.service_of(**request.path_params)
        require_ready(calls.first)
        body = await read_body(request.scope, request.receive, calls.max_body_bytes)
        parsed = parse_infer_request(body, request.headers.get(HEADER), calls.max_queries, outputs_of(service))
        answers = await calls.infer(service, parsed, client, caller_of(request.receive), request.scope)
        to_message = partial(self._to_response, service, parsed, answers.results)
        response = await calls.write(service, parsed, answers.results, to_message)
        response.headers["Server-Timing"] = server_timing(answers).decode()
        return response

    def _to_response(
        self,
        service: RankingService,
        parsed: ParsedInferRequest,
        results: Sequence[RankResult],
        elements: dict[OutputName, Elements],
    ) -> Response:
        outputs: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name, is_binary in parsed.outputs.items():
            output = {"name": name, "datatype": DATATYPES[name], "shape": [len(results), parsed.request.top_k]}
            if is_binary:
                tail.append(pack(DATATYPES[name], elements[name]))
                outputs.append({**output, "parameters": {"binary_data_size": len(tail[-1])}})
            else:
                outputs.append({**output, "data": elements[name]})
        model = {f"model_{key}": value for key, value in service.model_name.items()}
        echo = {} if parsed.id is None else {"id": parsed.id}
        missing = sorted(missing_shards(results)) if service.merges else []
        told = {"parameters": {"partial": True, "missing": ", ".join(missing)}} if missing else {}
        head = orjson.dumps({**model, **echo, **told, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tail:
            return Response(head, media_type="application/json")
        return Response(b"".join([head, *tail]), media_type=_BINARY, headers={HEADER: str(len(head))})


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
        responses={
            200: {"content": {_BINARY: _BYTES}},
            **_errors(400, 401, 404, 413, 415, 429, 503, 504),
        },
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
