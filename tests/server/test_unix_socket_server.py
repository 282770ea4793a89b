"""The real command on a Unix domain socket, alone and beside TCP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from astec.loadtest.bench.serving import children_of
from astec.server.workers.supervisor import EXIT_STARTUP_FAILED

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
KEY = "unix-socket-key-0123456789abcdef"
QUERY = {"query": "running shoes"}


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "astec.sock"


@contextmanager
def serving(artifact: Path, path: Path, *flags: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server on a socket; yield the process and its announcement. Its log lies beside the socket."""
    command = [sys.executable, "-m", "astec.server", artifact, "--uds", path, "--request-timeout-ms", 30_000, *flags]
    with path.with_name("log").open("w") as log:
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        try:
            announcement = process.stdout.readline()
            assert announcement, path.with_name("log").read_text()
            yield process, announcement
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def client_of(path: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=PATIENCE_S)


def test_a_server_on_a_socket_alone_answers_and_takes_the_file_away(demo_artifact: Path, path: Path) -> None:
    with serving(demo_artifact, path, "--workers", 2, "--access-log") as (process, announcement):
        assert announcement.startswith(f"Serving on the Unix domain socket {path} with 2 workers")
        with client_of(path) as client:
            answer = client.post("/predict", json=QUERY).raise_for_status()
            assert answer.json()["predictions"]
            assert client.get("/metrics").status_code == 200
            assert client.get("/docs").status_code == 200
        asked = ["curl", "--silent", "--fail", "--unix-socket", str(path), "--data", json.dumps(QUERY)]
        assert subprocess.check_output([*asked, "http://localhost/predict"]) == answer.content
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert not path.exists()
    log = path.with_name("log").read_text()
    assert "Traceback" not in log
    assert "POST /predict" in log


def test_a_full_queue_keys_and_rate_limits_need_no_address_of_the_client(demo_artifact: Path, path: Path) -> None:
    keys = path.with_name("keys")
    keys.write_text(f"sidecar:{KEY}\n")
    keys.chmod(0o600)
    flags = ("--workers", 1, "--api-keys-file", keys, "--rate-limit-qps", 1, "--rate-limit-burst", 2)
    with serving(demo_artifact, path, *flags), client_of(path) as client:
        assert client.post("/predict", json=QUERY).status_code == 401
        client.headers["Authorization"] = f"Bearer {KEY}"
        statuses = [client.post("/predict", json={"queries": ["a", "b"]}).status_code for _ in range(3)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        with client.stream("POST", "/predict/stream", content=b'"a"\n') as stream:
            assert stream.status_code == 200
            assert json.loads(next(stream.iter_lines()))["status"] == 429
    assert "Traceback" not in path.with_name("log").read_text()


def test_beside_tcp_the_socket_is_a_public_one(demo_artifact: Path, path: Path) -> None:
    flags = ("--workers", 2, "--port", 0, "--admin-port", 0, "--uds-mode", "600")
    with serving(demo_artifact, path, *flags) as (process, announcement):
        url = announcement.split()[2]
        admin = f"http://127.0.0.1:{process.stdout.readline().split()[3]}"
        assert f"{url} and the Unix domain socket {path}" in announcement
        assert path.stat().st_mode & 0o777 == 0o600
        with client_of(path) as client:
            answers = [asked.post(f"{base}/predict", json=QUERY) for asked, base in ((client, ""), (httpx, url))]
            assert answers[0].content == answers[1].content
            assert [client.get("/metrics").status_code, httpx.get(f"{admin}/metrics").status_code] == [404, 200]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert not path.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_new_workers_and_the_end_of_the_server_lose_no_request_on_the_socket(
    demo_artifact: Path, path: Path, workers: int
) -> None:
    """Each request has a connection of its own, so that some wait to be accepted when their worker stops."""
    transport = httpx.HTTPTransport(uds=str(path), limits=httpx.Limits(max_keepalive_connections=0))
    with serving(demo_artifact, path, "--workers", workers) as (process, _):
        before = children_of(process.pid)
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=PATIENCE_S) as client:
            client.post("/predict", json=QUERY).raise_for_status()
            process.send_signal(signal.SIGHUP)
            while set(before) & set(children_of(process.pid)) or len(children_of(process.pid)) < workers:
                client.post("/predict", json=QUERY).raise_for_status()
            process.send_signal(signal.SIGTERM)
            while path.exists():
                with suppress(httpx.ConnectError):  # It was removed just now. A request that is lost is another error.
                    client.post("/predict", json=QUERY).raise_for_status()
        assert process.wait(PATIENCE_S) == 0
    assert not path.exists()


def refusal(artifact: Path, path: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "astec.server", str(artifact), "--uds", str(path), "--verify", "sizes"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_second_server_on_the_socket_is_refused_and_a_dead_one_is_succeeded(demo_artifact: Path, path: Path) -> None:
    with serving(demo_artifact, path, "--workers", 1) as (process, _):
        code, message = refusal(demo_artifact, path)
        assert code == 2
        assert message.splitlines()[-1].startswith(
            f"astec-serve: cannot listen on {path}: another server listens there"
        )
        with client_of(path) as client:
            client.post("/predict", json=QUERY).raise_for_status()
        (worker,) = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)
        os.kill(worker, signal.SIGKILL)
    assert path.is_socket()
    with serving(demo_artifact, path, "--workers", 1), client_of(path) as client:
        client.post("/predict", json=QUERY).raise_for_status()
    assert not path.exists()


def test_a_server_that_does_not_start_leaves_no_file(demo_artifact: Path, path: Path, tmp_path: Path) -> None:
    for file in demo_artifact.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    encoder = tmp_path / "encoder.onnx"
    encoder.write_bytes(b"?" * encoder.stat().st_size)
    assert refusal(tmp_path, path)[0] == EXIT_STARTUP_FAILED
    assert not path.exists()
