"""curl and Java's clients: probes, bodies that have to be asked for, compressed bodies."""

import asyncio
import gzip
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from astec.export.artifact.store import Artifact
from tests.server.running_server import Running, running

pytestmark = pytest.mark.slow

MAX_BODY_BYTES = 2_000_000
PATIENCE_S = 60.0
LARGE = b'{"query": "shoes"%b}' % (b" " * 1_500_000)
"""curl sends no body of more than a megabyte before it was asked for it, or has waited for a second."""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

JAVA = """
import java.net.*;
import java.net.http.*;
import java.util.zip.GZIPOutputStream;

public class Probe {
    static HttpClient client = HttpClient.newHttpClient();

    static void send(String name, HttpRequest request) throws Exception {
        System.out.println(name + " " + client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }

    // HttpClient of Java 17 waits forever for the end of any refusal of a request that expects 100 (JDK-8286171).
    static void announce(String name, String url, int length) throws Exception {
        var connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setDoOutput(true);
        connection.setFixedLengthStreamingMode(length);
        connection.setRequestProperty("Expect", "100-Continue");
        try {
            connection.getOutputStream();
            System.out.println(name + " asked");
        } catch (ProtocolException refused) {
            System.out.println(name + " " + connection.getResponseCode());
        }
    }

    static HttpRequest.Builder to(String url, byte[] body) {
        return HttpRequest.newBuilder(URI.create(url)).POST(HttpRequest.BodyPublishers.ofByteArray(body));
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        byte[] good = "{\\"query\\": \\"shoes\\"}".getBytes();
        var zipped = new java.io.ByteArrayOutputStream();
        try (var gzip = new GZIPOutputStream(zipped)) {
            gzip.write(good);
        }
        send("head", HttpRequest.newBuilder(URI.create(base + "/readyz"))
            .method("HEAD", HttpRequest.BodyPublishers.noBody()).build());
        for (int round = 0; round < 2; round++) {
            send("expect", to(base + "/predict", good).expectContinue(true).build());
            announce("too-large", base + "/predict", Integer.parseInt(arguments[1]) + 1);
            send("gzip", to(base + "/predict", zipped.toByteArray()).header("Content-Encoding", "gzip").build());
            send("brotli", to(base + "/predict", good).header("Content-Encoding", "br").build());
        }
    }
}
"""


@cache
def missing_java() -> str | None:
    """Return why no program in Java can be run; None: one can."""
    java = shutil.which("java")
    if java is None:
        return "java is not installed"
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    needed = [name for name in ("jdk.compiler", "java.net.http") if f"{name}@" not in modules]
    return f"java has no module {needed[0]}" if needed else None


async def output_of(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def curl(server: Running, path: str, *arguments: str | Path, shown: str = "%{http_code}") -> str:
    host, port = server.address
    wanted = ["--silent", "--show-error", "--output", "/dev/null", "--write-out", shown]
    return await output_of("curl", *wanted, *arguments, f"http://{host}:{port}{path}")


@needs_curl
async def test_curl_reads_the_head_of_what_it_can_get(described_artifact: Artifact) -> None:
    async with running(described_artifact) as ours:
        for path in ("/healthz", "/readyz", "/metrics", "/", "/v2/health/ready"):
            assert await curl(ours, path, "--head", shown="%{http_code} %{size_download}") == "200 0"
        ours.app.app.drain()
        assert await curl(ours, "/readyz", "--head") == "503"


@needs_curl
@pytest.mark.parametrize("path", ["/predict", "/v2/models/described/infer"])
async def test_curl_sends_nothing_of_a_body_that_is_too_large(
    described_artifact: Artifact, tmp_path: Path, path: str
) -> None:
    body = tmp_path / "body"
    body.write_bytes(b" " * (MAX_BODY_BYTES + 1))
    async with running(described_artifact, max_body_bytes=MAX_BODY_BYTES) as ours:
        sent = await curl(ours, path, "--data-binary", f"@{body}", shown="%{http_code} %{size_upload}")
    assert sent == "413 0"


@needs_curl
async def test_curl_is_asked_for_a_body_within_the_limit(described_artifact: Artifact, tmp_path: Path) -> None:
    body, lines = tmp_path / "body", tmp_path / "lines"
    body.write_bytes(LARGE)
    lines.write_bytes(b'"shoes"\n' * 100)
    async with running(described_artifact, max_body_bytes=MAX_BODY_BYTES) as ours:
        said = await curl(ours, "/predict", "--verbose", "--data-binary", f"@{body}")
        assert said.count("< HTTP/1.1 ") == 2
        assert said.index("< HTTP/1.1 100 Continue") < said.index("< HTTP/1.1 200 OK")
        said = await curl(
            ours, "/predict/stream", "--verbose", "-H", "Expect: 100-continue", "--data-binary", f"@{lines}"
        )
        assert said.index("< HTTP/1.1 100 Continue") < said.index("< HTTP/1.1 200 OK")


@needs_curl
async def test_curl_sends_what_gzip_has_written(described_artifact: Artifact, tmp_path: Path) -> None:
    body = tmp_path / "body.gz"
    async with running(described_artifact, max_body_bytes=MAX_BODY_BYTES) as ours:
        for path, content in (("/predict", LARGE), ("/predict/stream", b'"shoes"\n' * 100)):
            body.write_bytes(gzip.compress(content))
            coded = ["-H", "Content-Encoding: gzip", "--data-binary", f"@{body}"]
            assert await curl(ours, path, *coded) == "200"
            assert await curl(ours, path, *coded, "-H", "Transfer-Encoding: chunked") == "200"


async def test_java_asks_before_it_sends_and_compresses(described_artifact: Artifact, tmp_path: Path) -> None:
    """Its newer client also asks for HTTP/2 in every request, by an upgrade that the server ignores."""
    reason = missing_java()
    if reason is not None:
        pytest.skip(reason)
    program = tmp_path / "Probe.java"
    program.write_text(JAVA)
    async with running(described_artifact, max_body_bytes=MAX_BODY_BYTES) as ours:
        host, port = ours.address
        said = await output_of("java", program, f"http://{host}:{port}", str(MAX_BODY_BYTES))
    assert said.split() == ["head", "200", *["expect", "200", "too-large", "413", "gzip", "200", "brotli", "415"] * 2]
