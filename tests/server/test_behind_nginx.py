"""The real command behind a real nginx: below a prefix, and on a Unix domain socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from tests.nginx import Proxied, needs_nginx, nginx

pytestmark = [pytest.mark.e2e, needs_nginx]

PREFIX = "/models/ml"
QUERY = {"query": "running shoes"}
PATIENCE_S = 60.0
WAYS = Proxied._fields


@pytest.fixture(scope="module")
def server(demo_artifact: Path) -> Iterator[Served]:
    with served(ours_command(demo_artifact, 1, "--root-path", PREFIX, "--request-timeout-ms", "30000")) as server:
        yield server


@pytest.fixture(scope="module")
def proxied(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with nginx(tmp_path_factory.mktemp("nginx"), server.url.removeprefix("http://"), PREFIX) as proxied:
        yield proxied


@pytest.fixture(params=WAYS)
def url(request: pytest.FixtureRequest, proxied: Proxied) -> str:
    return str(getattr(proxied, request.param))


def test_every_kind_of_path_answers_as_without_the_proxy(server: Served, url: str) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client:
        for path in ("/healthz", "/readyz", "/v1/model", "/v2", "/openapi.json", "/docs", "/static/swagger-ui.css"):
            answer = client.get(url + path).raise_for_status()
            assert answer.content == client.get(server.url + path).raise_for_status().content, path
        answers = [client.post(f"{base}/predict", json=QUERY).raise_for_status() for base in (url, server.url)]
        assert answers[0].content == answers[1].content
        lines = b'"running shoes"\n"garden hose"\n'
        assert len(client.post(f"{url}/predict/stream", content=lines).raise_for_status().text.splitlines()) == 2
        assert client.get(f"{url}/none").status_code == 404


def test_the_schema_names_the_prefix_and_the_pages_ask_below_it(url: str) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client:
        assert client.get(f"{url}/openapi.json").json()["servers"] == [{"url": PREFIX}]
        for page in ("/", "/docs", "/redoc"):
            html = client.get(url + page).raise_for_status().text
            base = re.search(r'<base href="([^"]+)">', html)
            named = re.findall(
                r'(?:href|src|url|spec-url)(?:="|: ")([^"]+)"', html.replace(base[0], "") if base else html
            )
            asked = [
                urljoin(urljoin(url + page, base[1] if base else ""), name) for name in named if "data:" not in name
            ]
            assert asked
            for address in asked:
                assert address.startswith(f"{url}/")
                assert client.get(address).status_code == 200, address


def test_the_playground_is_right_without_the_slash_at_the_end_too(url: str) -> None:
    page = httpx.get(url, follow_redirects=True, timeout=PATIENCE_S).raise_for_status()
    assert f'<base href="{PREFIX}/">' in page.text


def test_predictions_below_the_prefix_take_the_short_way_and_are_counted_as_such(
    server: Served, proxied: Proxied
) -> None:
    def counted() -> float:
        lines = httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return float(
            next(
                line for line in lines if line.startswith('astec_requests_total{route="/predict",status="200"}')
            ).split()[1]
        )

    before = counted()
    for url in proxied:
        httpx.post(f"{url}/predict", json=QUERY, timeout=PATIENCE_S).raise_for_status()
    assert counted() == before + len(proxied)


def test_nginx_reaches_the_server_by_its_socket_over_connections_that_it_keeps(
    demo_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket has at most 107 bytes.
    command = ours_command(demo_artifact, 2, "--root-path", PREFIX, "--uds", "s", "--access-log", "--log-level", "info")
    with served(command) as server, nginx(tmp_path, "unix:s", PREFIX) as proxied, httpx.Client() as client:
        direct = client.post(f"{server.url}/predict", json=QUERY, timeout=PATIENCE_S).raise_for_status()
        for _ in range(20):
            for url in proxied:
                answer = client.post(f"{url}/predict", json=QUERY, timeout=PATIENCE_S).raise_for_status()
                assert answer.content == direct.content
