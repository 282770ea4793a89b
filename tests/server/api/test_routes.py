"""The endpoints beside `/predict`."""

import re
import subprocess
import sys
from itertools import pairwise

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from astec.server.engine.examples import MAX_EXAMPLES
from astec.server.metrics.board import LATENCY_BUCKETS_S


async def test_health_readiness_and_model(serve) -> None:
    async with serve() as (app, client):
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        response = await client.get("/v1/model")
    assert response.status_code == 200
    answer = response.json()
    examples = answer.pop("examples")
    assert answer == app.state.service.artifact.manifest.public()
    assert len(examples) == MAX_EXAMPLES


async def test_the_playground_fetches_nothing_from_elsewhere(serve) -> None:
    async with serve() as (_, client):
        response = await client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"(src|href)=\"?(https?:)?//|innerHTML|@import|\burl\(", response.text)


async def test_the_schema_documents_requests_answers_and_errors(serve) -> None:
    async with serve() as (_, client):
        schema = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 200
    predict = schema["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PredictRequest")
    assert set(predict["responses"]) == {"200", "400", "401", "413", "415", "422", "429", "503", "504"}
    for status, response in predict["responses"].items():
        media_type = "application/json" if status == "200" else "application/problem+json"
        assert set(response["content"]) == {media_type}
    components = schema["components"]["schemas"]
    assert {"PredictRequest", "Features", "SingleResponse", "BatchResponse", "Problem", "FieldError"} <= set(components)
    assert components["PredictRequest"]["examples"]
    references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert references <= set(components)


async def test_a_mounted_app_answers_by_the_route_in_its_table_as_the_short_cut_does(serve) -> None:
    async with serve() as (app, client):
        body = {"queries": [app.state.service.artifact.labels[0], ""], "top_k": 3}
        outer = Starlette(routes=[Mount("/below", app)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://t") as mounted:
            routed = await mounted.post("/below/predict", json=body)
            refused = await mounted.post("/below/predict", json={})
        direct = await client.post("/predict", json=body)
        metrics = (await client.get("/metrics")).text
    assert routed.status_code == 200
    assert routed.json() == direct.json()
    assert set(routed.headers) == set(direct.headers)
    assert refused.status_code == 422
    assert 'astec_requests_total{route="/predict",status="200"} 2.0' in metrics
    assert 'astec_requests_total{route="/predict",status="422"} 1.0' in metrics


async def test_server_timing_tells_the_stages(serve) -> None:
    async with serve() as (_, client):
        timing = (await client.post("/predict", json={"queries": ["a", "b"]})).headers["server-timing"]
    number = r"\d+\.\d{3}"
    stages = ("queue", "featurize", "encode", "shortlist", "score")
    assert re.fullmatch(", ".join(f"{stage};dur={number}" for stage in stages), timing)


async def test_metrics_count_what_was_asked_and_answered(serve) -> None:
    async with serve() as (app, client):
        query = app.state.service.artifact.labels[0]
        await client.post("/predict", json={"query": query})
        await client.post("/predict", json={"queries": [query, query]})
        await client.post("/predict", json={"query": query, "top_k": 0})
        for path in ("/nowhere", "/predict/x", "/wp-login.php"):
            await client.get(path)
        response = await client.get("/metrics")
        model = app.state.service.artifact.manifest.model
    assert response.headers["content-type"].startswith("text/plain")
    lines = set(response.text.splitlines())
    assert 'astec_requests_total{route="/predict",status="200"} 2.0' in lines
    assert 'astec_requests_total{route="/predict",status="422"} 1.0' in lines
    assert 'astec_requests_total{route="other",status="404"} 3.0' in lines
    assert 'astec_request_seconds_count{route="/predict"} 3.0' in lines
    assert "astec_queries_total 3.0" in lines
    assert "astec_queue_seconds_count 3.0" in lines
    assert "astec_batch_size_sum 3.0" in lines
    assert "astec_queue_length 0.0" in lines
    assert f'astec_model_info{{name="{model.name}",version="{model.version}"}} 1.0' in lines
    for stage in ("featurize", "encode", "shortlist", "score"):
        assert f'astec_stage_seconds_count{{stage="{stage}"}} 2.0' in lines


def test_latency_buckets_are_geometric_from_50_microseconds_to_5_seconds() -> None:
    assert LATENCY_BUCKETS_S[0] == 50e-6
    assert LATENCY_BUCKETS_S[-1] == 5.0
    ratios = [upper / lower for lower, upper in pairwise(LATENCY_BUCKETS_S)]
    assert max(ratios) < 1.6
    assert min(ratios) > 1.5


@pytest.mark.slow
def test_the_server_loads_no_torch() -> None:
    program = "import astec.server.app, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
