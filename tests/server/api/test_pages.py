"""The pages, their files, and the paths below a prefix."""

from __future__ import annotations

import hashlib
import re

import pytest
from pydantic import ValidationError
from starlette.routing import Route

from astec.export.artifact.store import Artifact
from astec.server.api.pages import DOCS_POLICY, PLAYGROUND_POLICY, STATIC
from astec.server.settings import Settings
from tests.docs.conftest import ROOT

VENDOR = STATIC / "vendor"
LISTS = {"PACKAGES", "SHA256SUMS"}
PREFIX = "/models/ml"


def test_the_files_of_others_are_those_that_npm_published() -> None:
    sums = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    assert set(sums) | LISTS == {path.name for path in VENDOR.iterdir()}
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_the_packages_are_those_that_the_makefile_gets() -> None:
    wanted = re.findall(r"^(?:SWAGGER_UI|REDOC) \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    packages = [line.split() for line in (VENDOR / "PACKAGES").read_text().splitlines()]
    assert [name for name, _ in packages] == wanted
    assert all(integrity.startswith("sha512-") for _, integrity in packages)
    for package, script in zip(wanted, ("swagger-ui-bundle.js", "redoc.standalone.js"), strict=True):
        assert package.partition("@")[2] in (VENDOR / script).read_text()


def test_every_script_and_style_has_its_licence_beside_it() -> None:
    names = {path.name for path in VENDOR.iterdir()}
    for path in VENDOR.glob("*.js"):
        assert f"{path.name}.LICENSE.txt" in names
        assert f"{path.name.partition('.')[0].removesuffix('-bundle')}.LICENSE.txt" in names


@pytest.mark.parametrize(
    ("path", "policy"), [("/", PLAYGROUND_POLICY), ("/docs", DOCS_POLICY), ("/redoc", DOCS_POLICY)]
)
async def test_a_page_names_no_other_host_and_its_policy_allows_none(
    described_artifact: Artifact, serving, path: str, policy: str
) -> None:
    async with serving(described_artifact)() as (_, client):
        answer = await client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == policy
    assert "<base" not in answer.text
    sources = re.findall(r'<(?:script|link|redoc|img)[^>]+(?:src|href|spec-url)="([^"]+)"', answer.text)
    assert all(not re.match(r"(?:\w+:)?//", source) for source in sources)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy


async def test_a_file_is_sent_whole_once_and_then_only_if_it_has_changed(described_artifact: Artifact, serving) -> None:
    async with serving(described_artifact)() as (_, client):
        first = await client.get("/static/swagger-ui-bundle.js")
        again = await client.get("/static/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["etag"]})
    assert first.content == (VENDOR / "swagger-ui-bundle.js").read_bytes()
    assert "javascript" in first.headers["content-type"]
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "%2e%2e%2findex.html", "..%2f..%2fsettings.py", "/etc/passwd"])
async def test_no_other_file_is_sent(described_artifact: Artifact, serving, name: str) -> None:
    async with serving(described_artifact)() as (_, client):
        answer = await client.get(f"/static/{name}")
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "Settings" not in answer.text


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_below_a_prefix_all_paths_answer_with_it_and_without(
    described_artifact: Artifact, serving, prefix: str
) -> None:
    async with serving(described_artifact)(root_path=f"{PREFIX}/") as (_, client):
        assert (await client.get(f"{prefix}/openapi.json")).json()["servers"] == [{"url": PREFIX}]
        assert f'<base href="{PREFIX}/">' in (await client.get(f"{prefix}/")).text
        for path in ("/docs", "/static/swagger-ui.css", "/v1/model", "/v2", "/healthz"):
            assert (await client.get(f"{prefix}{path}")).status_code == 200
        for path, body in (("/predict", b'{"query": "a"}'), ("/predict/stream", b'"a"')):
            assert (await client.post(f"{prefix}{path}", content=body)).status_code == 200
        assert (await client.get(f"{prefix}/none")).status_code == 404


async def test_the_prefix_alone_is_the_playground_and_its_neighbours_are_nothing(
    described_artifact: Artifact, serving
) -> None:
    async with serving(described_artifact)(root_path=PREFIX) as (_, client):
        assert "<html" in (await client.get(PREFIX)).text
        for path in (f"{PREFIX}x/healthz", f"{PREFIX}{PREFIX}/healthz", "/models/healthz"):
            assert (await client.get(path)).status_code == 404


async def test_without_a_prefix_the_schema_names_no_server(described_artifact: Artifact, serving) -> None:
    async with serving(described_artifact)() as (_, client):
        assert "servers" not in (await client.get("/openapi.json")).json()


async def test_no_path_of_the_server_may_be_the_prefix(described_artifact: Artifact, serving) -> None:
    async with serving(described_artifact)() as (app, client):
        paths = {
            *(await client.get("/openapi.json")).json()["paths"],
            "/docs",
            "/redoc",
            "/static/{name}",
            "/openapi.json",
        }
        fixed = {path.partition("/{")[0] for path in paths}
        assert {route.path for route in app.routes if isinstance(route, Route)} <= paths | {"/"}
    prefixes = {"/".join(path.split("/")[:end]) for path in fixed for end in range(2, path.count("/") + 2)}
    assert "/v1" in prefixes
    for prefix in prefixes:
        with pytest.raises(ValidationError, match="is the beginning of a path of the API"):
            Settings(artifact=described_artifact.path, root_path=prefix)
