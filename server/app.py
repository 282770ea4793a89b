"""The ASGI application of a worker: it warms the model up, serves and drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from astec.export.artifact.store import Artifact
from astec.server.access.access_control import AccessControl
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.api import pages
from astec.server.api.admission import AdmissionControl
from astec.server.api.direct_predict import DirectPredict
from astec.server.api.open_inference import endpoints as open_inference
from astec.server.api.open_inference.calls import InferenceCalls
from astec.server.api.open_inference.schema import InferRequest, request_schemas
from astec.server.api.openapi import keep_problem_type, requested, without_defaults
from astec.server.api.predict import PredictEndpoint
from astec.server.api.predict_stream import PredictStreamEndpoint
from astec.server.api.routes import GUARDED_PATHS, PREDICT_PATH, predict_route, router, stream_route
from astec.server.api.schema import PredictRequest
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.models.served_models import ServedModels
from astec.server.engine.service import Service
from astec.server.engine.shadow.shadow_sender import ShadowSender
from astec.server.errors import ERROR_KEY, install_error_handlers
from astec.server.http.protocol import ADMISSION_POLICY, DIRECT_ENDPOINT
from astec.server.http.request_ids import SCOPE_KEY, identify
from astec.server.metrics.board import OTHER, Metrics
from astec.server.metrics.middleware import RequestMetrics
from astec.server.settings import Settings
from astec.server.tracing.request_span import SPAN_KEY, RequestSpan
from astec.server.tracing.tracer import Tracer

if TYPE_CHECKING:
    from astec.server.rpc.rpc_server import RpcServer

API_VERSION = "1"
DESCRIPTION = "Matches short texts to the most relevant of up to millions of labels (DeepXML/Astec)."


class Observers(NamedTuple):
    """The parts of a server that are told of requests and answers.

    Attributes:
        answer_log: Where answers are logged; None: nowhere.
        tracer: Begins the spans of requests; None: there are no traces.
        shadow: Where answers go that a model in the shadow is to be compared with; None: there is no such model.
    """

    answer_log: AnswerLog | None = None
    tracer: Tracer | None = None
    shadow: ShadowSender | None = None


class AstecApi(FastAPI):
    """The FastAPI application. Predictions bypass FastAPI, and the schema has one media type for errors."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        metrics: Metrics,
        access_control: AccessControl | None,
        ask_for_reload: Callable[[], None] | None,
        observers: Observers,
    ) -> None:
        super().__init__(
            title="astec",
            version=API_VERSION,
            description=DESCRIPTION,
            lifespan=_lifespan,
            redirect_slashes=False,  # A redirect would lead to the host in the client's Host header.
            generate_unique_id_function=lambda route: route.name,
            docs_url=None,  # FastAPI's pages load their scripts from the internet.
            redoc_url=None,
            # FastAPI's own traces know nothing of predictions, and its log records quote what clients send.
            telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        )
        self.state.models = models
        self.state.service = models.first
        self._metrics = self.state.metrics = metrics
        self.state.access_control = access_control
        self.state.ask_for_reload = ask_for_reload
        self.state.admin_port = settings.admin_port
        self.state.answer_log = answer_log = observers.answer_log
        self.rpc: RpcServer | None = None
        self._tracer = self.state.tracer = observers.tracer
        self._makes_ids = answer_log is not None
        self._predict = PredictEndpoint(models, settings, access_control, answer_log)
        # A prefix that a proxy has in front of all paths, and that it may strip or not.
        self._root_path = settings.root_path
        paths = (PREDICT_PATH, f"{self._root_path}{PREDICT_PATH}") if self._root_path else (PREDICT_PATH,)
        # With CORS, responses need the headers of a middleware, so that predictions cannot bypass FastAPI.
        self.direct_paths = () if settings.cors_origin else paths
        self.include_router(router)
        self.include_router(pages.router)
        self.router.routes.append(predict_route(self._predict))
        self.router.routes.append(stream_route(PredictStreamEndpoint(self._predict, settings)))
        calls = InferenceCalls(models, self._predict, settings, access_control, API_VERSION)
        self.router.routes.extend(open_inference.OpenInferenceEndpoints(calls).routes())
        install_error_handlers(self)
        if settings.grpc_port is not None:
            from astec.server.rpc.rpc_server import RpcServer  # Its packages are an extra.

            self.rpc = RpcServer(settings, calls, metrics, self._makes_ids, self._tracer)
        if settings.cors_origin:
            self.add_middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origin,
                allow_methods=["GET", "POST"],
                allow_headers=[
                    *("Authorization", "Content-Encoding", "Content-Type", "X-Request-Id"),
                    *([settings.share_header] if settings.share_header else []),
                ],
                expose_headers=["Retry-After", "Server-Timing", "X-Request-Id"],
            )
        self.add_middleware(RequestMetrics, answered=self._answered)

    def drain(self) -> None:
        """Report on `/readyz` that the server is about to stop; everything else goes on.

        Clients of gRPC are asked to send their calls to another server.
        """
        self.state.models.drain()
        if self.rpc is not None:
            self.rpc.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; predictions bypass middleware and router, which take longer than a prediction does.

        Most predictions come not even here: `direct_endpoint` answers them.

        HEAD is answered as GET is. The HTTP server knows the method from its own scope, and leaves the body out.
        """
        if scope["type"] == "http":
            if self._tracer is not None:
                self._tracer.begin_in(scope)
            send = identify(scope, send, always=self._makes_ids)
            if scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}
        if scope["type"] != "http" or scope["path"] not in self.direct_paths or scope["method"] != "POST":
            if self._root_path and scope["type"] == "http":
                scope = _below(self._root_path, scope)
            await super().__call__(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500  # What the client gets if the application raises.
        try:
            status = await self._predict.serve(scope, receive, send)
        finally:
            self._answered(scope, PREDICT_PATH, status, time.perf_counter() - started_s)

    def _answered(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Record a request that has ended."""
        self._metrics.request_answered(route, status, seconds)
        span: RequestSpan | None = scope.get(SPAN_KEY)
        if span is not None:
            span.error = span.error or scope.get(ERROR_KEY, "")
            span.end("" if route == OTHER else route, status, seconds, scope.get(SCOPE_KEY, b""))

    def direct_endpoint(self) -> DirectPredict | None:
        """Return what answers predictions in place of this application; None: with CORS nothing does."""
        if not self.direct_paths:
            return None
        return DirectPredict(self._predict, self._metrics, self.direct_paths, self._makes_ids, self._tracer)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI schema, with the schemas of requests that FastAPI does not parse."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        schema = super().openapi()
        components = schema["components"]["schemas"]
        components.update(request_schemas())
        for name in requested(components, (PredictRequest.__name__, InferRequest.__name__)):
            components[name] = without_defaults(components[name])
        keep_problem_type(schema["paths"])
        if self.state.access_control is not None:
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path in (*GUARDED_PATHS, *open_inference.GUARDED_PATHS):
                for operation in schema["paths"][path].values():
                    operation["security"] = [{"key": []}]
        return schema


def _below(root_path: str, scope: Scope) -> Scope:
    """Return the scope of a request as ASGI wants it below a root path, whether the proxy strips that or not."""
    path = scope["path"]
    if path == root_path:
        path = f"{root_path}/"  # the playground
    elif not path.startswith(f"{root_path}/"):
        path = f"{root_path}{path}"
    return {**scope, "root_path": root_path, "path": path}


def create_app(
    settings: Settings,
    artifact: Artifact | Sequence[Artifact],
    metrics: Metrics,
    access_control: AccessControl | None = None,
    ask_for_reload: Callable[[], None] | None = None,
    block_list: BlockList | Sequence[BlockList] | None = None,
    observers: Observers | None = None,
) -> AstecApi:
    """Return the application of one worker.

    It may be created before a fork: session and threads of the model begin when it starts up. `/readyz` answers 200
    once real predictions have succeeded.

    Args:
        settings: The server's settings.
        artifact: The open model, or one for each of several that the settings name.
        metrics: The metrics of this worker.
        access_control: Checks keys and rate limits; None: everybody may ask, without limits.
        ask_for_reload: Makes the parent replace the workers and their models; None: no client can ask for it.
        block_list: Labels of the model that no answer may name, or those of each model; None: no label can be blocked.
        observers: What is told of requests and answers.
    """
    observers = observers or Observers()
    artifacts = [artifact] if isinstance(artifact, Artifact) else artifact
    block_lists = (
        [block_list] * len(artifacts) if block_list is None or isinstance(block_list, BlockList) else block_list
    )
    services = [
        Service(settings, opened, of_model, blocked, named.name)
        for opened, of_model, blocked, named in zip(
            artifacts, metrics.of_models, block_lists, settings.artifact, strict=True
        )
    ]
    models = ServedModels(services, settings.percents, settings.share_header, observers.shadow)
    return AstecApi(settings, models, metrics, access_control, ask_for_reload, observers)


def create_merging_app(settings: Settings, metrics: Metrics, access_control: AccessControl | None = None) -> AstecApi:
    """Return the application of one worker that merges the answers of the shards at `settings.upstream`.

    `/readyz` answers 200 once all of them have said which model they serve, and while all of them are ready.

    Args:
        settings: The server's settings.
        metrics: The metrics of this worker.
        access_control: As for `create_app`.

    Raises:
        ImportError: httpx is not installed, with which the shards are asked.
    """
    # Imported only here, because a server with a model of its own does not need httpx.
    from astec.server.engine.upstream.upstream_service import UpstreamService

    models = ServedModels([UpstreamService(settings, metrics)])
    return AstecApi(settings, models, metrics, access_control, None, Observers())


@asynccontextmanager
async def _lifespan(app: AstecApi) -> AsyncIterator[dict[str, AdmissionControl | DirectPredict | None]]:
    models: ServedModels = app.state.models
    access_control: AccessControl | None = app.state.access_control
    answer_log: AnswerLog | None = app.state.answer_log
    await models.start()
    tracer: Tracer | None = app.state.tracer
    if answer_log is not None:
        answer_log.start()
    if tracer is not None:
        tracer.start()
    if access_control is not None:
        access_control.refresh()  # The parent may have read the file of keys long ago.
    if app.rpc is not None:
        await app.rpc.start()
    watch = None if access_control is None else asyncio.create_task(access_control.watch())
    try:
        yield {
            ADMISSION_POLICY: AdmissionControl(models.busiest, models.busiest.metrics, app.direct_paths, tracer),
            DIRECT_ENDPOINT: app.direct_endpoint(),
        }
    finally:
        if app.rpc is not None:
            await app.rpc.stop()
        await models.stop()
        # Their writing and sending must not hold up the event loop.
        await asyncio.gather(*[asyncio.to_thread(thread.stop) for thread in (answer_log, tracer) if thread is not None])
        if watch is not None:
            watch.cancel()
