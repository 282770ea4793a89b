"""The calls of the protocol, whatever carries them: JSON over HTTP, or gRPC.

Shapes: N queries, K ranks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from starlette.types import Scope

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.server.access.access_control import AccessControl, Headers
from astec.server.api.open_inference.request import ParsedInferRequest
from astec.server.api.open_inference.schema import ModelMetadata, OutputName, ServerMetadata, TensorMetadata
from astec.server.api.open_inference.tensors import Datatype, Elements
from astec.server.api.predict import PredictEndpoint, require_ready
from astec.server.engine.batching.batcher import Answers, Caller
from astec.server.engine.models.served_models import ServedModels
from astec.server.engine.rank_request import RankedLabels, RankResult
from astec.server.engine.upstream.ranking_service import RankingService
from astec.server.errors import UnknownModelError
from astec.server.settings import Settings
from astec.server.tracing.request_span import SPAN_KEY

DATATYPES: dict[OutputName, Datatype] = {
    "labels": "BYTES",
    "label_ids": "INT64",
    "scores": "FP32",
    "probabilities": "FP32",
}
_MAX_INLINE_LABELS = 5_000  # Each takes about a microsecond to write; this many may block the event loop, for 5 ms.
_INPUT_METADATA = [
    TensorMetadata(name="query", datatype="BYTES", shape=[-1]),
    TensorMetadata(name="top_k", datatype="INT32", shape=[1]),
]

Written = TypeVar("Written")


class InferenceCalls:
    """The calls of the protocol.

    Args:
        models: Rank the labels.
        predict: The endpoint `/predict`, which checks and charges these requests like its own.
        settings: The server's settings.
        access_control: Checks keys; None: everybody may ask.
        server_version: The version of the API.

    Attributes:
        models: Rank the labels.
        max_body_bytes: The largest body of an inference request.
        max_queries: The most queries of an inference request.
    """

    def __init__(
        self,
        models: ServedModels,
        predict: PredictEndpoint,
        settings: Settings,
        access_control: AccessControl | None,
        server_version: str,
    ) -> None:
        self.models = models
        self._predict = predict
        self._access_control = access_control
        self._server_version = server_version
        self.max_body_bytes = settings.max_body_bytes
        self.max_queries = settings.max_queries

    @property
    def first(self) -> RankingService:
        """The service of the first model, whose state is that of the server."""
        return self.models.first

    def server_metadata(self, extensions: Sequence[str]) -> ServerMetadata:
        """Return name and version of the server, and the extensions of the protocol that it supports."""
        return ServerMetadata(name="astec", version=self._server_version, extensions=list(extensions))

    def client_of(self, headers: Headers) -> str:
        """Return the name of the client that sent a request with these headers; empty if the server asks for no keys.

        Raises:
            UnauthorizedError: The request has no key that the server knows.
        """
        return "" if self._access_control is None else self._access_control.client_of(headers)

    def service_of(self, name: str, version: str | None = None) -> RankingService:
        """Return the service of a model; without a version, of any version of it.

        Raises:
            UnknownModelError: It is not served.
        """
        for service in self.models.services:
            if name == service.model_name["name"] and version in (None, service.model_name["version"]):
                return service
        raise UnknownModelError("No such model or version is served here; GET /v2/models tells which ones are.")

    def model_metadata(self, service: RankingService) -> ModelMetadata:
        """Return a model's inputs and outputs.

        Raises:
            UnavailableError: The model is loading, or the server is shutting down.
        """
        require_ready(self.first)
        return ModelMetadata(
            name=service.model_name["name"],
            versions=[service.model_name["version"]],
            platform="astec",
            inputs=_INPUT_METADATA,
            outputs=[
                TensorMetadata(name=name, datatype=DATATYPES[name], shape=[-1, -1]) for name in outputs_of(service)
            ],
        )

    async def infer(
        self,
        service: RankingService,
        parsed: ParsedInferRequest,
        client: str,
        caller: Caller | None,
        scope: Scope,
        line: int | None = None,
    ) -> Answers[RankResult]:
        """Rank labels for the queries of a request, and log the answers.

        Args:
            service: That of the model that the request names.
            parsed: The request.
            client: The name of the client that pays for it.
            caller: The client that waits.
            scope: Where the id and the span of the request are, as in `PredictEndpoint.log`.
            line: The number of the request in a stream.

        Raises:
            Exception: As `PredictEndpoint.admit` and `Service.rank`.
        """
        named = parsed.request.model_copy(update={"model": service.model_name["name"]})
        requests = self._predict.admit(named, client, "arrays")
        answers = await self._predict.rank(requests, caller, scope.get(SPAN_KEY))
        self._predict.log(scope, requests, answers.results, line)
        return answers

    async def write(
        self,
        service: RankingService,
        parsed: ParsedInferRequest,
        results: Sequence[RankResult],
        to_message: Callable[[dict[OutputName, Elements]], Written],
    ) -> Written:
        """Return what a function makes of the N * K elements of each output; for many labels it runs on a thread."""
        top_k = parsed.request.top_k

        def written() -> Written:
            calibrator = service.calibrator if "probabilities" in parsed.outputs else None
            return to_message(_elements([result.labels for result in results], top_k, calibrator))

        return written() if len(results) * top_k <= _MAX_INLINE_LABELS else await asyncio.to_thread(written)


def outputs_of(service: RankingService) -> list[OutputName]:
    """Return the outputs of a model."""
    return [name for name in DATATYPES if name != "probabilities" or service.calibrator is not None]


def _elements(
    rankings: Sequence[RankedLabels], top_k: int, calibrator: Calibrator | None
) -> dict[OutputName, Elements]:
    """Return the N * K elements of each output, in row-major order; probabilities only with a calibrator.

    If a query has fewer than K labels, its row ends with empty texts, ids of -1, and scores and probabilities of 0.
    """
    texts: list[str] = []
    label_ids_NK = np.full((len(rankings), top_k), -1, np.int64)
    scores_NK = np.zeros((len(rankings), top_k), np.float32)
    for row, labels in enumerate(rankings):
        found = len(labels.texts)
        texts += labels.texts + [""] * (top_k - found)
        label_ids_NK[row, :found] = labels.label_ids
        scores_NK[row, :found] = np.fmax(labels.scores, 0)  # NaN becomes 0, as in the JSON of the native API.
    elements: dict[OutputName, Elements] = {
        "labels": texts,
        "label_ids": label_ids_NK.ravel(),
        "scores": scores_NK.ravel(),
    }
    if calibrator is not None:
        elements["probabilities"] = np.where(
            label_ids_NK < 0, np.float32(0), calibrator.probabilities(scores_NK)
        ).ravel()
    return elements
