"""The real `astec-serve` command in a process of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from astec.server.workers.supervisor import EXIT_STARTUP_FAILED

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
SECRET = "xyzzyplugh"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "astec.server", *map(str, arguments)]


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


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
        check=False,
    )


def refuse(*arguments: object, **environment: str) -> str:
    done = run(*arguments, **environment)
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


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_and_stops_cleanly_without_logging_queries(demo_artifact: Path, tmp_path: Path, workers: int) -> None:
    flags = ("--workers", workers, "--access-log", "--log-level", "debug")
    with served(demo_artifact, tmp_path, *flags) as (process, url, log):
        assert httpx.get(f"{url}/readyz").status_code == 200
        for body in ({"query": SECRET}, {"queries": [SECRET, SECRET]}, {"query": SECRET, "top_k": 0}):
            httpx.post(f"{url}/predict", json=body)
        httpx.post(f"{url}/predict", content=f'{{"query": "{SECRET}')
        assert httpx.post(f"{url}/predict", content=b" " * 10_000_000).status_code == 413
        process.send_signal(
            signal.SIGHUP
        )  # Replaces the workers; it also comes when a terminal closes, and must not stop the server.
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
    with served(demo_artifact, tmp_path, "--workers", 2) as (process, url, log):
        assert len(workers_of(process)) == 2
        # Every request opens a new connection, which either worker may accept.
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json={"query": "a"}).status_code == 200
        for _ in range(5):
            assert metric(url, 'astec_requests_total{route="/predict",status="200"}') == 20
            assert metric(url, "astec_queries_total") == 20
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in log.read_text()


def test_a_killed_worker_is_replaced_while_the_others_answer(demo_artifact: Path, tmp_path: Path) -> None:
    with served(demo_artifact, tmp_path, "--workers", 2) as (process, url, _):
        first = workers_of(process)
        answered = 0
        for victim in first:
            os.kill(victim, signal.SIGKILL)
            while victim in workers_of(process) or len(workers_of(process)) < 2:
                assert httpx.post(f"{url}/predict", json={"query": "a"}, timeout=PATIENCE_S).status_code == 200
                answered += 1
                assert metric(url, "astec_queries_total") == answered
        assert not set(first) & set(workers_of(process))


def test_one_worker_and_four_give_the_same_bytes(demo_artifact: Path, demo_queries: list[str], tmp_path: Path) -> None:
    answers = []
    for workers in (1, 4):
        with served(demo_artifact, tmp_path, "--workers", workers) as (process, url, _):
            assert len(workers_of(process)) == workers
            # Connections are closed, so that each query may go to another worker.
            with httpx.Client(base_url=url, headers={"Connection": "close"}) as client:
                answers.append([client.post("/predict", json={"query": query}).content for query in demo_queries])
    assert len(set(answers[0])) > 50
    assert answers[0] == answers[1]


def test_a_worker_shares_the_model_with_the_others(
    demo_artifact: Path, demo_queries: list[str], tmp_path: Path
) -> None:
    with served(demo_artifact, tmp_path, "--workers", 3) as (process, url, _):
        httpx.post(f"{url}/predict", json={"queries": demo_queries})
        for worker in workers_of(process):
            private = private_bytes_by_file(worker)
            assert sum(size for file, size in private.items() if Path(file).parent == demo_artifact) == 0
            # Objects that are counted, and what a worker computes. The kernels alone, loaded once more, take 50 MB.
            assert sum(private.values()) < 40e6
            # Of its own: the event loop, and one thread that computes.
            assert len(list(Path(f"/proc/{worker}/task").iterdir())) <= 3


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def private_bytes_by_file(pid: int) -> Counter[str]:
    """Return the private bytes of each mapped file; "" is memory without a file."""
    private: Counter[str] = Counter()
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *values = line.split(maxsplit=5)
        if "-" in key:
            file = values[4] if len(values) == 5 else ""
        elif key in ("Private_Clean:", "Private_Dirty:"):
            private[file] += int(values[0]) << 10
    return private


@pytest.mark.parametrize("workers", [1, 2])
def test_damage_that_only_hashes_show_ends_the_start_where_only_sizes_are_compared(
    demo_artifact: Path, tmp_path: Path, workers: int
) -> None:
    broken = shutil.copytree(demo_artifact, tmp_path / "broken")
    encoder = broken / "encoder.onnx"
    encoder.write_bytes(b"?" * encoder.stat().st_size)
    assert "encoder.onnx" in refuse(broken, "--workers", workers)
    done = run(broken, "--port", 0, "--workers", workers, "--verify", "sizes")
    assert done.returncode == EXIT_STARTUP_FAILED
    assert "does not predict" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


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


def test_upstreams_that_cannot_be_are_refused(demo_artifact: Path, tmp_path: Path) -> None:
    shard = ("--upstream", "http://shard-0:8000")
    assert "ARTIFACT and --upstream are both given" in refuse(demo_artifact, *shard)
    assert "'shard-1:8000' does not begin with http:// or https://" in refuse(*shard, "--upstream", "shard-1:8000")
    assert "'http://shard-0:8000' is given twice" in refuse(*shard, *shard)
    assert "--on-missing" in refuse(*shard, "--on-missing", "skip")
    assert "--cache-entries is for a server with an artifact" in refuse(*shard, "--cache-entries", "10")
    assert "ASTEC_UPSTREAM" in refuse(ASTEC_UPSTREAM="http://shard-0:8000,shard-1:8000")


def test_help_has_every_knob() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "Default: the usable CPUs, at most 16." in " ".join(done.stdout.split())
    assert "PydanticUndefined" not in done.stdout
    for flag in ("--host", "--port", "--workers", "--inference-threads", "--batch-timeout-us", "--no-access-log"):
        assert flag in done.stdout
