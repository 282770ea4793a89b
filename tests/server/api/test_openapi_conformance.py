"""Every operation of the API against its OpenAPI schema, with requests that the schema allows or forbids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from astec.export.artifact.store import Artifact
from astec.server.app import AstecApi, create_app
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

pytestmark = pytest.mark.slow

BASE_URL = "http://t"
OPERATIONS = [
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "GET /v1/model",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models",
    "GET /v2/models/{name}",
    "GET /v2/models/{name}/ready",
    "GET /v2/models/{name}/versions/{version}",
    "GET /v2/models/{name}/versions/{version}/ready",
    "POST /predict",
    "POST /predict/stream",
    "POST /v1/model/reload",
    "POST /v2/models/{name}/infer",
    "POST /v2/models/{name}/versions/{version}/infer",
]
INFER = "/v2/models/{name}/infer"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
# The lines are the bytes that the strategy draws; tests/server/api/test_predict_stream.py has other lines.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")

# Without a parameter or a body there is nothing to forbid.
MODES = [
    *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
    ("POST /predict", GenerationMode.NEGATIVE),
    (f"POST {INFER}", GenerationMode.NEGATIVE),
]
FUZZED = settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Ask = Callable[[schemathesis.Case], httpx.Response]


@pytest.fixture(scope="module")
def app(opened_artifact: Artifact) -> AstecApi:
    # No deadline may pass on a busy machine.
    settings = Settings(artifact=opened_artifact.path, request_timeout_ms=60_000)
    return create_app(settings, opened_artifact, MetricsBoard(1).metrics(0))


@pytest.fixture(scope="module")
def schema(app: AstecApi) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_dict(app.openapi())


@pytest.fixture(scope="module")
def ask(app: AstecApi) -> Iterator[Ask]:
    """Sends requests to the started application in this process."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False))
    with asyncio.Runner() as runner, ExitStack() as stack:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        stack.callback(lambda: runner.run(lifespan.__aexit__(None, None, None)))
        stack.callback(lambda: runner.run(client.aclose()))
        yield lambda case: runner.run(client.send(to_httpx(case)))


@pytest.fixture(scope="module")
def model(app: AstecApi) -> dict[str, str]:
    """The name and the version that are served."""
    return app.state.service.model_name


def to_httpx(case: schemathesis.Case) -> httpx.Request:
    """The bytes that schemathesis would have `requests` send."""
    request: Any = requests.Request(**case.as_transport_kwargs(BASE_URL)).prepare()
    body = request.body.encode() if isinstance(request.body, str) else request.body
    return httpx.Request(request.method, request.url, headers=dict(request.headers), content=body)


def test_every_documented_operation_is_tried_below(schema: schemathesis.BaseSchema) -> None:
    assert sorted(result.ok().label for result in schema.get_all_operations()) == OPERATIONS


@pytest.mark.parametrize(("operation", "mode"), MODES, ids=lambda value: getattr(value, "value", value))
@FUZZED
@given(data=st.data())
def test_what_is_answered_is_documented(
    schema: schemathesis.BaseSchema,
    ask: Ask,
    model: dict[str, str],
    operation: str,
    mode: GenerationMode,
    data: st.DataObject,
) -> None:
    method, path = operation.split()
    case = data.draw(schema[path][method].as_strategy(generation_mode=mode))
    if "{name}" in path:  # A made-up name would be refused before anything else is checked.
        case.path_parameters = {part: model[part] for part in model if f"{{{part}}}" in path}
    case.validate_response(ask(case), checks=CHECKS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["query", "ids", "weights"]), inner),
    max_leaves=10,
)
BODIES = st.binary() | JSON.map(json.dumps).map(str.encode) | st.integers(1, 100_000).map(lambda depth: b"[" * depth)


@FUZZED
@given(body=BODIES, field=st.sampled_from(["", "query", "queries", "top_k", "min_score", "other"]))
def test_whatever_is_sent_the_answer_is_documented(
    schema: schemathesis.BaseSchema, ask: Ask, body: bytes, field: str
) -> None:
    """Bytes, or fields with bytes for a value, that no schema has generated."""
    sent = b'{"query": "shoes", "%b": %b}' % (field.encode(), body) if field else body
    case = schema["/predict"]["POST"].Case(body=sent, media_type="application/json")
    response = ask(case)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code in (200, 400, 422)


@FUZZED
@given(
    body=BODIES, field=st.sampled_from(["", "id", "inputs", "outputs", "parameters"]), header=st.none() | st.integers(0)
)
def test_whatever_is_inferred_the_answer_is_documented(
    schema: schemathesis.BaseSchema, ask: Ask, model: dict[str, str], body: bytes, field: str, header: int | None
) -> None:
    inputs = b'{"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": ["shoes"]}]'
    sent = b'%b, "%b": %b}' % (inputs, field.encode(), body) if field else body
    headers = {} if header is None else {"Inference-Header-Content-Length": str(header)}
    case = schema[INFER]["POST"].Case(
        body=sent, media_type="application/json", path_parameters={"name": model["name"]}, headers=headers
    )
    response = ask(case)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code in (200, 400)
