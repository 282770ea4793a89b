"""Access control: keys, rate limits, origins and the port for operators."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from astec.server.access.access_control import open_access_control
from astec.server.app import AstecApi, create_app
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

KEY, OTHER_KEY, UNKNOWN = ("0123456789abcdef" * 2, "fedcba9876543210" * 2, "0123456789abcdee" * 2)
QUERY = {"query": "a"}
ServeWith = Callable[..., AbstractAsyncContextManager[tuple[AstecApi, httpx.AsyncClient]]]


def bearer(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {key}"}


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"ads:{KEY}\nsearch:{OTHER_KEY}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def serve_with(opened_artifact) -> ServeWith:
    """Serves as the command does, with the access control that the settings ask for."""

    @asynccontextmanager
    async def running(**knobs: Any) -> AsyncIterator[tuple[AstecApi, httpx.AsyncClient]]:
        settings = Settings(artifact=opened_artifact.path, **knobs)
        app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0), open_access_control(settings))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t:8000") as client,
        ):
            yield app, client

    return running


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(UNKNOWN),
        bearer(KEY, "Basic"),
        {"Authorization": KEY},
        bearer(""),
        bearer(f" {KEY}"),
        {"X-Api-Key": KEY},
    ],
    ids=["none", "unknown", "basic", "no-scheme", "empty", "blank", "elsewhere"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("GET", "/v1/model")])
async def test_who_shows_no_key_gets_401_and_how_to_show_one(
    serve_with: ServeWith, keys_file: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    async with serve_with(api_keys_file=keys_file) as (_, client):
        response = await client.request(method, path, json=QUERY, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:astec:problem:unauthorized"
    assert KEY not in response.text


@pytest.mark.parametrize("headers", [bearer(KEY), bearer(OTHER_KEY), bearer(KEY, "bearer")], ids=["a", "b", "case"])
async def test_who_shows_a_key_is_answered(serve_with: ServeWith, keys_file: Path, headers: dict[str, str]) -> None:
    async with serve_with(api_keys_file=keys_file) as (_, client):
        assert (await client.post("/predict", json=QUERY, headers=headers)).status_code == 200
        assert (await client.get("/v1/model", headers=headers)).status_code == 200


async def test_health_and_documentation_need_no_key(serve_with: ServeWith, keys_file: Path) -> None:
    async with serve_with(api_keys_file=keys_file) as (_, client):
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/"):
            assert (await client.get(path)).status_code == 200, path


async def test_the_body_of_a_request_without_key_is_not_read(serve_with: ServeWith, keys_file: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    async with serve_with(api_keys_file=keys_file) as (_, client):
        assert (await client.post("/predict", content=body())).status_code == 401


async def test_the_list_of_models_needs_a_key(serve_with: ServeWith, keys_file: Path) -> None:
    async with serve_with(api_keys_file=keys_file) as (_, client):
        assert (await client.get("/v2/models")).status_code == 401


async def test_the_schema_asks_for_a_key_only_where_the_server_does(serve_with: ServeWith, keys_file: Path) -> None:
    async with serve_with() as (_, client):
        schema = (await client.get("/openapi.json")).json()
    assert "security" not in str(schema).lower()
    async with serve_with(api_keys_file=keys_file) as (_, client):
        schema = (await client.get("/openapi.json")).json()
    assert schema["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    asking = {path for path, methods in schema["paths"].items() if any("security" in each for each in methods.values())}
    models = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
    protocol = {path + suffix for path in models for suffix in ("", "/infer")} | {"/v2/models"}
    assert asking == {"/predict", "/predict/stream", "/v1/model", "/v1/model/reload"} | protocol
    assert "401" in schema["paths"]["/v1/model"]["get"]["responses"]


async def test_only_the_operator_may_ask_for_the_next_model(serve_with: ServeWith, keys_file: Path) -> None:
    asked: list[str] = []
    async with serve_with(api_keys_file=keys_file, operator="search") as (app, client):
        app.state.ask_for_reload = lambda: asked.append("reload")
        answers = [
            await client.post("/v1/model/reload", headers=headers)
            for headers in ({}, bearer(UNKNOWN), bearer(KEY), bearer(OTHER_KEY))
        ]
    assert [answer.status_code for answer in answers] == [401, 401, 403, 202]
    assert answers[2].json()["type"] == "urn:astec:problem:forbidden"
    assert asked == ["reload"]


async def test_without_keys_nobody_may_ask_for_the_next_model(serve_with: ServeWith) -> None:
    async with serve_with() as (app, client):
        app.state.ask_for_reload = lambda: pytest.fail("the model would be reloaded")
        assert (await client.post("/v1/model/reload")).status_code == 403


async def test_a_running_server_takes_the_keys_of_a_new_file(serve_with: ServeWith, keys_file: Path) -> None:
    async with serve_with(api_keys_file=keys_file) as (app, client):
        keys_file.write_text(f"ads:{OTHER_KEY}\n")
        app.state.access_control.refresh()
        assert (await client.post("/predict", json=QUERY, headers=bearer(KEY))).status_code == 401
        assert (await client.post("/predict", json=QUERY, headers=bearer(OTHER_KEY))).status_code == 200


async def test_a_worker_begins_with_the_keys_of_now_not_with_those_its_parent_read(
    opened_artifact, keys_file: Path
) -> None:
    settings = Settings(artifact=opened_artifact.path, api_keys_file=keys_file, rate_limit_qps=1000)
    access_control = open_access_control(settings)
    keys_file.write_text(f"new:{UNKNOWN}\n")
    app = create_app(settings, opened_artifact, MetricsBoard(1).metrics(0), access_control)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        assert (await client.post("/predict", json=QUERY, headers=bearer(KEY))).status_code == 401
        assert (await client.post("/predict", json=QUERY, headers=bearer(UNKNOWN))).status_code == 200


async def test_beyond_its_rate_a_client_gets_429_and_when_to_ask_again(serve_with: ServeWith, keys_file: Path) -> None:
    # A query an hour, so that the speed of the test makes no difference.
    knobs = {"api_keys_file": keys_file, "rate_limit_qps": 1 / 3600, "rate_limit_burst": 3}
    async with serve_with(**knobs) as (_, client):
        assert (await client.post("/predict", json={"queries": ["a", "b"]}, headers=bearer(KEY))).status_code == 200
        assert (await client.post("/predict", json={"query": 7}, headers=bearer(KEY))).status_code == 422
        assert (await client.post("/predict", json=QUERY, headers=bearer(KEY))).status_code == 200
        refused = await client.post("/predict", json={"queries": ["a", "b"]}, headers=bearer(KEY))
        assert (await client.post("/predict", json=QUERY, headers=bearer(OTHER_KEY))).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:astec:problem:rate-limited"
    assert 3000 < int(refused.headers["retry-after"]) <= 3600
    assert 'astec_shed_total{reason="rate_limited"} 2.0' in metrics
    assert 'astec_requests_total{route="/predict",status="429"} 1.0' in metrics


def test_a_rate_limit_without_keys_is_refused() -> None:
    with pytest.raises(ValidationError, match="--api-keys-file"):
        Settings(artifact=Path("a"), rate_limit_qps=5)


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


async def test_without_origins_no_page_may_ask_from_a_browser(serve_with: ServeWith) -> None:
    async with serve_with() as (_, client):
        asked = await client.post("/predict", json=QUERY, headers={"Origin": "https://a.example"})
        preflight = await client.options("/predict", headers={"Origin": "https://a.example"} | PREFLIGHT)
    assert preflight.status_code == 405
    assert not [name for answer in (asked, preflight) for name in answer.headers if name.startswith("access-control")]


async def test_only_pages_of_listed_origins_may_ask(serve_with: ServeWith, keys_file: Path) -> None:
    origins = ["https://a.example", "http://localhost:3000"]
    async with serve_with(cors_origin=origins, api_keys_file=keys_file) as (_, client):
        for origin in origins:
            headers = {"Origin": origin}
            preflight = await client.options("/predict", headers=headers | PREFLIGHT)
            asked = await client.post("/predict", json=QUERY, headers=headers | bearer(KEY))
            assert (preflight.status_code, asked.status_code) == (200, 200)
            assert preflight.headers["access-control-allow-origin"] == origin
            assert asked.headers["access-control-allow-origin"] == origin
            assert "Server-Timing" in asked.headers["access-control-expose-headers"]
        for origin in ("https://b.example", "https://a.example.evil.example", "null"):
            headers = {"Origin": origin}
            preflight = await client.options("/predict", headers=headers | PREFLIGHT)
            asked = await client.post("/predict", json=QUERY, headers=headers | bearer(KEY))
            assert preflight.status_code == 400
            assert "access-control-allow-origin" not in preflight.headers
            assert "access-control-allow-origin" not in asked.headers
        metrics = (await client.get("/metrics")).text
    assert 'astec_requests_total{route="/predict",status="200"} 5.0' in metrics


@pytest.mark.parametrize("origin", ["*", "example.com", "https://example.com/", "ftp://example.com", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings(artifact=Path("a"), cors_origin=[origin])


def test_origins_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTEC_CORS_ORIGIN", "https://a.example, http://localhost:3000")
    assert Settings(artifact=Path("a")).cors_origin == ["https://a.example", "http://localhost:3000"]
    monkeypatch.setenv("ASTEC_CORS_ORIGIN", "")
    assert Settings(artifact=Path("a")).cors_origin == []


async def test_metrics_are_on_the_port_for_operators_alone_whatever_the_host_header_says(serve_with: ServeWith) -> None:
    async with serve_with(admin_port=9000) as (_, client):
        for headers in ({}, {"Host": "t:9000"}):
            hidden = await client.get("/metrics", headers=headers)
            assert hidden.status_code == 404
            assert hidden.headers["content-type"] == "application/problem+json"
        shown = await client.get("http://t:9000/metrics")
        assert (await client.get("http://t:9000/readyz")).status_code == 200
        assert (await client.post("/predict", json=QUERY)).status_code == 200
    assert shown.status_code == 200
    assert "astec_requests_total" in shown.text


async def test_a_stream_ends_to_be_answered_when_its_key_is_withdrawn(serve_with: ServeWith, keys_file: Path) -> None:
    async with serve_with(api_keys_file=keys_file) as (app, client):

        async def lines() -> AsyncIterator[bytes]:
            yield b'"red shoes"\n'
            await asyncio.sleep(0.5)
            keys_file.write_text(f"search:{OTHER_KEY}\n")
            app.state.access_control.refresh()
            yield b'"red shoes"\n'

        answer = await client.post("/predict/stream", content=lines(), headers=bearer(KEY))
    first, second = map(json.loads, answer.text.splitlines())
    assert "predictions" in first
    assert second["status"] == 401
