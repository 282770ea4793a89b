"""The real command with an answer log: every record is there after a drain, through a full disk and a killed worker."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from astec.export.artifact.store import Artifact
from astec.server.answer_log.record_reader import find_files, read_records
from astec.server.answer_log.sampling import Sample
from astec.trainer.demo.log import sample_queries
from tests.server.raw_connection import Connection

pytestmark = pytest.mark.e2e

PATIENCE_S = 120.0
KEY = "0123456789abcdef"


class Server(NamedTuple):
    url: str
    folder: Path
    log: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def metric(self, series: str) -> float:
        text = httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return 0.0 if found is None else float(found[1])

    def drain(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()

    def records(self) -> list[dict[str, Any]]:
        return [record for path in find_files(self.folder) for record in read_records(path)]

    def ask(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/predict", json=body, headers=named, timeout=PATIENCE_S)


@contextmanager
def serving(artifact: Path, tmp_path: Path, *flags: object, logs: bool = True) -> Iterator[Server]:
    folder, log = tmp_path / "answers", tmp_path / "stderr"
    command = [sys.executable, "-m", "astec.server", str(artifact), "--port", "0", "--drain-s", "0"]
    if logs:
        command += ["--log-answers", str(folder)]
    with (
        log.open("w") as stderr,
        subprocess.Popen([*command, *map(str, flags)], stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None, log.read_text()
            yield Server(address[0], folder, log, process)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def wait_until(is_done: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


async def ask_at_rate(server: Server, ids: Sequence[str], queries: Sequence[str], rate: float) -> list[dict[str, Any]]:
    """Ask at fixed times, on so many connections that each worker has some, and return the answers in order."""
    connections = [Connection(*await asyncio.open_connection(*server.address)) for _ in range(32)]
    answers: dict[int, dict[str, Any]] = {}
    begun_s = time.monotonic()

    async def ask_on(connection: Connection, first: int) -> None:
        for number in range(first, len(ids), len(connections)):
            await asyncio.sleep(begun_s + number / rate - time.monotonic())
            body = json.dumps({"query": queries[number], "top_k": 3}).encode()
            head = f"POST /predict HTTP/1.1\r\nhost: t\r\nx-request-id: {ids[number]}\r\ncontent-length: {len(body)}"
            status, headers, content = await connection.ask(f"{head}\r\n\r\n".encode() + body)
            assert (status, headers["x-request-id"]) == (200, ids[number])
            answers[number] = json.loads(content)

    await asyncio.gather(*[ask_on(connection, first) for first, connection in enumerate(connections)])
    for connection in connections:
        connection.writer.close()
    return [answers[number] for number in range(len(ids))]


@pytest.mark.parametrize("flags", [(), ("--log-format", "parquet"), ("--cache-entries", "50")])
def test_every_answer_is_recorded_once_after_a_drain(
    described_artifact: Artifact, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    queries = sample_queries(1500, seed=5)
    ids = [f"request-{number}" for number in range(len(queries))]
    with serving(described_artifact.path, tmp_path, "--workers", 2, *flags) as server:
        answers = asyncio.run(ask_at_rate(server, ids, queries, rate=300))
        server.drain()
        records = {record["request_id"]: record for record in server.records()}
        assert len(server.records()) == len(ids)
        for number, (request_id, answer) in enumerate(zip(ids, answers, strict=True)):
            record, predictions = records[request_id], answer["predictions"]
            assert record["query"] == queries[number]
            assert record["shown"] == [prediction["label"] for prediction in predictions]
            assert record["scores"] == pytest.approx([prediction["score"] for prediction in predictions], rel=1e-6)
            assert {"name": record["model"], "version": record["version"]} == answer["model"]
        files = list(server.folder.iterdir())
        assert {path.name.rpartition("-")[2].partition(".")[0] for path in files} == {"worker0", "worker1"}
        assert set(Counter(record["worker"] for record in records.values())) == {0, 1}
        assert not [path.name for path in files if "part" in path.name]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert "Traceback" not in server.log.read_text()


def test_all_endpoints_that_rank_are_recorded(described_artifact: Artifact, tmp_path: Path) -> None:
    with (
        serving(described_artifact.path, tmp_path, "--workers", 1) as server,
        httpx.Client(timeout=PATIENCE_S) as client,
    ):
        name = client.get(f"{server.url}/v1/model").json()["model"]["name"]
        made = server.ask({"query": "a shoe"})
        assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
        server.ask({"queries": ["two shoes", "three hoses"], "top_k": 2}, x_request_id="several")
        server.ask({"query": "why shoes", "explain": True}, x_request_id="explained")
        bad = server.ask({"query": "x", "top_k": 0}, x_request_id="refused")
        assert (bad.status_code, bad.headers["x-request-id"]) == (422, "refused")
        lines = b'"s one"\n\n{"queries": ["s two", "s three"]}\n{"top_k": 1}\n'
        streamed = client.post(f"{server.url}/predict/stream", content=lines, headers={"x-request-id": "stream"})
        assert streamed.headers["x-request-id"] == "stream"
        tensor = {"name": "query", "datatype": "BYTES", "shape": [2], "data": ["t one", "t two"]}
        inferred = client.post(
            f"{server.url}/v2/models/{name}/infer", json={"inputs": [tensor]}, headers={"x-request-id": "tensors"}
        )
        assert inferred.headers["x-request-id"] == "tensors"
        shown = next(output["data"] for output in inferred.json()["outputs"] if output["name"] == "labels")
        server.drain()
        records = {(record["request_id"], record["position"]): record for record in server.records()}
    assert {key: record["query"] for key, record in records.items()} == {
        (made.headers["x-request-id"], 0): "a shoe",
        ("several", 0): "two shoes",
        ("several", 1): "three hoses",
        ("explained", 0): "why shoes",
        ("stream:1", 0): "s one",
        ("stream:3", 0): "s two",
        ("stream:3", 1): "s three",
        ("tensors", 0): "t one",
        ("tensors", 1): "t two",
    }
    of_tensors = [label for position in (0, 1) for label in records["tensors", position]["shown"]]
    assert of_tensors == [label for label in shown if label]
    assert len(records["several", 0]["shown"]) == len(records["several", 0]["scores"]) == 2


def test_a_sample_of_hashed_queries(described_artifact: Artifact, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    queries = sample_queries(400, seed=6)
    ids = [f"request-{number}" for number in range(len(queries))]
    flags = ("--log-share", "0.3", "--log-queries", "hashed", "--log-key-file", key)
    with serving(described_artifact.path, tmp_path, "--workers", 1, *flags) as server:
        asyncio.run(ask_at_rate(server, ids, queries, rate=500))
        server.drain()
        found = {record["request_id"]: record["query_hash"] for record in server.records()}
        kept = [number for number, request_id in enumerate(ids) if Sample(0.3).has(request_id.encode())]
        assert found == {
            ids[number]: hmac.new(KEY.encode(), queries[number].encode(), "sha256").hexdigest() for number in kept
        }
        assert 60 < len(kept) < 180
        assert "can be read by other users" in server.log.read_text()


def test_a_full_disk_costs_records_and_no_answer(described_artifact: Artifact, tmp_path: Path) -> None:
    queries = sample_queries(300, seed=7)
    with serving(described_artifact.path, tmp_path, "--workers", 1) as server:
        (worker,) = server.workers()
        before = asyncio.run(ask_at_rate(server, [f"a{n}" for n in range(300)], queries, rate=500))
        wait_until(lambda: server.metric("astec_answers_logged_total") == 300)
        # From here on, every write of the worker fails that makes a file larger than a byte.
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (1, hard))
        during = asyncio.run(ask_at_rate(server, [f"b{n}" for n in range(300)], queries, rate=500))
        lost = 'astec_answers_not_logged_total{reason="write_failed"}'
        wait_until(lambda: server.metric(lost) == 300)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        asyncio.run(ask_at_rate(server, [f"c{n}" for n in range(300)], queries, rate=500))
        server.drain()
        assert during == before
        assert {record["request_id"] for record in server.records()} == {
            f"{kind}{n}" for kind in "ac" for n in range(300)
        }
        assert not [path.name for path in server.folder.iterdir() if path.name.endswith(".part")]


def test_a_killed_worker_leaves_a_part_that_can_be_read(described_artifact: Artifact, tmp_path: Path) -> None:
    queries = sample_queries(200, seed=8)
    with serving(described_artifact.path, tmp_path, "--workers", 1) as server:
        asyncio.run(ask_at_rate(server, [f"a{n}" for n in range(200)], queries, rate=500))
        wait_until(lambda: server.metric("astec_answers_logged_total") == 200)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in server.workers() and len(server.workers()) == 1)
        assert server.ask({"query": "after"}, x_request_id="after").status_code == 200
        server.drain()
        assert len(server.records()) == 201
        assert len([path for path in server.folder.iterdir() if path.name.endswith(".jsonl.gz.part")]) == 1


def test_without_the_log_an_id_is_repeated_and_none_is_made(described_artifact: Artifact, tmp_path: Path) -> None:
    with serving(described_artifact.path, tmp_path, "--workers", 1, logs=False) as server:
        assert "x-request-id" not in server.ask({"query": "a"}).headers
        assert server.ask({"query": "a"}, x_request_id="mine").headers["x-request-id"] == "mine"
        made = server.ask({"query": "a"}, x_request_id="not an id").headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        health = httpx.get(f"{server.url}/healthz", headers={"x-request-id": "mine"}, timeout=PATIENCE_S)
        assert health.headers["x-request-id"] == "mine"
        assert not server.folder.exists()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--log-queries", "hashed"), "needs a key: name its file with --log-key-file"),
        (("--log-queries", "hashed", "--log-key-file", "/no/such/key"), "the key in /no/such/key cannot be read"),
        (("--log-share", "0"), "--log-share .*greater than 0"),
        (("--log-answers", "/dev/null/answers"), "the folder /dev/null/answers for answers cannot be made"),
    ],
)
def test_a_server_that_cannot_log_does_not_start(
    described_artifact: Artifact, tmp_path: Path, flags: tuple[str, ...], complaint: str
) -> None:
    command = [sys.executable, "-m", "astec.server", str(described_artifact.path), "--port", "0"]
    log = ["--log-answers", str(tmp_path / "answers")]
    ended = subprocess.run([*command, *log, *flags], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert re.search(complaint, ended.stderr)
    assert "Traceback" not in ended.stderr
