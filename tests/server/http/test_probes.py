"""Requests of load balancers, uptime probes and proxies, on raw sockets."""

from pathlib import Path

import pytest

from astec.export.artifact.store import Artifact
from tests.server.raw_connection import Connection
from tests.server.running_server import post, running

GOOD = b'{"query": "shoes", "top_k": 3}'
PATHS = ["/healthz", "/readyz", "/metrics", "/", "/v1/model", "/docs", "/openapi.json"]
PROTOCOL_PATHS = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/described", "/v2/models/described/ready"]


def request(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: t", *fields, "", ""]).encode()


async def head_of(connection: Connection, path: str) -> tuple[int, dict[str, str]]:
    """Return status and headers of the response to HEAD; the next response shows that it had no body."""
    connection.writer.write(request("HEAD", path) + request("GET", "/healthz"))
    head = (await connection.interim()).decode().split("\r\n")[:-2]
    assert (await connection.answer())[2] == b'{"status":"alive"}'
    return int(head[0].split()[1]), dict(field.split(": ", 1) for field in head[1:])


def without_date(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "date"}


@pytest.mark.parametrize("path", [*PATHS, *PROTOCOL_PATHS, "/predict", "/nowhere", "/v2/models/another"])
async def test_head_has_the_headers_of_get_and_no_body(described_artifact: Artifact, path: str) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        status, headers, body = await connection.ask(request("GET", path))
        head_status, head = await head_of(connection, path)
    assert head_status == status
    assert (status == 200) == (path in PATHS + PROTOCOL_PATHS)
    if path == "/metrics":  # It grows with every request.
        assert head.keys() == headers.keys()
    else:
        assert without_date(head) == without_date(headers)
        assert int(head["content-length"]) == len(body)


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready", "/v2/models/described/ready"])
async def test_head_tells_that_a_server_drains(described_artifact: Artifact, path: str) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        assert (await head_of(connection, path))[0] == 200
        ours.app.app.drain()
        status, headers = await head_of(connection, path)
        assert (status, headers["retry-after"]) == (503, "1")


async def test_a_path_that_is_read_allows_both_methods(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        for path, allowed in (("/readyz", "GET, HEAD"), ("/v2", "GET, HEAD"), ("/predict", "POST")):
            status, headers, _ = await connection.ask(request("DELETE", path))
            assert (status, headers["allow"]) == (405, allowed)


async def test_head_counts_as_a_request_for_its_route(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        await head_of(connection, "/readyz")
        await ours.until('astec_requests_total{route="/readyz",status="200"} 1.0')


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("http://t/healthz", b'{"status":"alive"}'),
        ("http://t:8000/healthz?a=b", b'{"status":"alive"}'),
        ("HTTP://t/healthz", b'{"status":"alive"}'),
        ("http://t", b"<!doctype html>"),
        ("http://t?a=b", b"<!doctype html>"),
        ("/healthz?url=http://t", b'{"status":"alive"}'),
    ],
)
async def test_a_proxy_may_send_the_whole_url(described_artifact: Artifact, target: str, body: bytes) -> None:
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        status, _, answer = await connection.ask(request("GET", target))
        assert status == 200
        assert answer.startswith(body)
        assert (await connection.ask(post(GOOD, target=b"http://t:8000/predict")))[0] == 200


async def test_what_proxies_add_changes_nothing(described_artifact: Artifact) -> None:
    added = (
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n"
        b"Forwarded: for=192.0.2.1;proto=https\r\nVia: 1.1 proxy\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n"
        b"Accept: text/html\r\nAccept-Encoding: gzip, br\r\nX-EMPTY:"
    )
    async with running(described_artifact) as ours:
        connection = await ours.connect()
        _, headers, plain = await connection.ask(post(GOOD))
        _, headers_behind_proxy, body = await connection.ask(post(GOOD, added))
    assert body == plain
    assert headers.keys() == headers_behind_proxy.keys()


@pytest.mark.parametrize(
    ("headers", "trailers", "status"),
    [
        (["Authorization: Bearer 0123456789abcdef"], ["Content-Encoding: gzip", "Expect: tea", "X: y"], 200),
        ([], ["Authorization: Bearer 0123456789abcdef"], 401),
    ],
    ids=["coding", "key"],
)
async def test_a_trailer_is_no_header(
    described_artifact: Artifact, tmp_path: Path, headers: list[str], trailers: list[str], status: int
) -> None:
    """All of a request that comes in one packet is parsed before the application sees its head."""
    keys = tmp_path / "keys"
    keys.write_text("tester:0123456789abcdef\n")
    keys.chmod(0o600)
    chunks = b"%x;a=b\r\n%b\r\n0;last\r\n" % (len(GOOD), GOOD)
    end = "\r\n".join([*trailers, "", ""]).encode()
    async with running(described_artifact, api_keys_file=keys) as ours:
        connection = await ours.connect()
        head = request("POST", "/predict", "Transfer-Encoding: chunked", *headers)
        assert (await connection.ask(head + chunks + end))[0] == status
