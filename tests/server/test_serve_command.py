"""The real command in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

PATIENCE_S = 60.0
SECRET = "xyzzyplugh"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "server", *map(str, arguments)]


@contextmanager
def served(artifact: Path, tmp_path: Path, *flags: object) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """Runs the server on a free port and yields the process, its address, and its log."""
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command(artifact, "--port", 0, *flags),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    with process:
        try:
            announcement = process.stdout.readline()
            address = re.search(r"http://[\d.]+:\d+", announcement)
            assert address, announcement + log.read_text()
            yield process, address[0], log
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def refuse(*arguments: object, **environment: str) -> str:
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def metric(url: str, series: str) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.rpartition(" ")[0] == series
    )


def test_it_serves_and_stops_cleanly_without_logging_queries(demo_artifact: Path, tmp_path: Path) -> None:
    with served(demo_artifact, tmp_path, "--access-log", "--log-level", "debug") as (process, url, log):
        assert httpx.get(f"{url}/readyz").status_code == 200
        for body in ({"query": SECRET}, {"queries": [SECRET, SECRET]}, {"query": SECRET, "top_k": 0}):
            httpx.post(f"{url}/predict", json=body)
        httpx.post(f"{url}/predict", content=f'{{"query": "{SECRET}')
        assert httpx.post(f"{url}/predict", content=b" " * 10_000_000).status_code == 413
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "POST /predict" in log.read_text()
    assert SECRET not in log.read_text()


def test_without_the_access_log_a_request_leaves_no_line(demo_artifact: Path, tmp_path: Path) -> None:
    with served(demo_artifact, tmp_path) as (_, url, log):
        before = log.read_text()
        httpx.post(f"{url}/predict", json={"query": "a"})
        assert log.read_text() == before


def test_workers_share_the_port_and_add_up_their_metrics(demo_artifact: Path, tmp_path: Path) -> None:
    with served(demo_artifact, tmp_path, "--workers", 2) as (process, url, _):
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json={"query": "a"}).status_code == 200
        for _ in range(5):
            assert metric(url, 'astec_requests_total{route="/predict",status="200"}') == 20
            assert metric(url, "astec_queries_total") == 20

        (directory,) = tmp_path.glob("astec-metrics-*")
        gauges = sorted(directory.glob("gauge_livesum_*.db"))
        assert len(gauges) == 2
        victim = int(gauges[0].stem.rpartition("_")[2])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(set(directory.glob("gauge_livesum_*.db")) - {gauges[0]}) == 2)
        assert not gauges[0].exists()
        assert metric(url, "astec_queries_total") == 20

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert not directory.exists()


def wait_until(condition) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refuse(tmp_path)
    assert "set ASTEC_ARTIFACT" in refuse()


def test_a_broken_artifact_is_refused_by_the_name_of_the_file(demo_artifact: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in demo_artifact.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    victim = broken / "encoder.onnx"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert "encoder.onnx" in refuse(broken)


@pytest.mark.parametrize(("flag", "value"), [("--port", 65536), ("--workers", 0), ("--queue-capacity", 0)])
def test_a_bad_flag_is_refused_by_name(demo_artifact: Path, flag: str, value: int) -> None:
    assert flag in refuse(demo_artifact, flag, value)


def test_a_bad_variable_is_refused_by_name(demo_artifact: Path) -> None:
    assert "ASTEC_MAX_BATCH_SIZE" in refuse(demo_artifact, ASTEC_MAX_BATCH_SIZE="many")


def test_a_port_in_use_is_refused(demo_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refuse(demo_artifact, "--port", port)
    assert f"port {port}: Address already in use" in message
    assert "--port" in message


def test_help_has_every_knob() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    for flag in ("--host", "--port", "--workers", "--inference-threads", "--batch-timeout-us", "--no-access-log"):
        assert flag in done.stdout
