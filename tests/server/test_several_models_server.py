"""The real command with two models: shares, the shadow, reloads, and the flags that it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.server.answer_log.record_reader import find_files, read_records
from astec.server.engine.models.traffic_split import TrafficSplit
from astec.server.engine.shadow.overlap import overlap_at
from tests.server.changed_artifact import change_artifact

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
QUERIES = [f"running shoes {number}" for number in range(10_000)]
COMMAND = [sys.executable, "-m", "astec.server"]


def rewrite(labels: bytes) -> bytes:
    """Write the labels with an "o" in them otherwise, so that the rankings of the two models differ in part."""
    return labels.replace(b"o", b"O")


@pytest.fixture(scope="module")
def next_artifact(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return change_artifact(demo_artifact, tmp_path_factory.mktemp("next") / "artifact", "next-1", rewrite)


class Server:
    def __init__(self, url: str, process: subprocess.Popen[str], log: Path) -> None:
        self.url, self.process, self.log = url, process, log

    def post(self, body: object, path: str = "/predict", **headers: str) -> Any:
        """Send a request on a new connection, so that any worker may answer it."""
        answer = httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def models_of(self, queries: list[str]) -> list[str]:
        """Return the name of the model that answered each query, asked in requests of a hundred."""
        names = []
        for begin in range(0, len(queries), 100):
            answer = self.post({"queries": queries[begin : begin + 100], "top_k": 1})
            names += [(result.get("model") or answer["model"])["name"] for result in answer["results"]]
        return names

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S)

    def metric(self, series: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series)

    def until(self, happened: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < give_up_s, self.log.read_text()
            time.sleep(0.05)

    def reload(self, outcome: str = "done") -> None:
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.metric(f'astec_reloads_total{{outcome="{outcome}"}}') == 1)


@contextmanager
def served(tmp_path: Path, *flags: object) -> Iterator[Server]:
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, *map(str, flags), "--port", "0", "--request-timeout-ms", "30000", "--drain-s", "1"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None, log.read_text()
            yield Server(address[0], process, log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert "Traceback" not in log.read_text()


def pair(current: Path, other: Path) -> tuple[str, str]:
    return f"current={current}", f"next={other}"


def test_a_share_is_that_of_the_queries_in_every_worker_and_after_a_restart(
    demo_artifact: Path, next_artifact: Path, tmp_path: Path
) -> None:
    flags = (*pair(demo_artifact, next_artifact), "--share", "next=5", "--workers", 2)
    with served(tmp_path, *flags, "--log-answers", tmp_path / "log") as server:
        names = server.models_of(QUERIES)
        share = names.count("next")
        assert abs(share - 500) < 3 * sqrt(10_000 * 0.05 * 0.95)
        split = TrafficSplit([5])
        assert names == ["next" if split.model_of(query, b"") else "current" for query in QUERIES]
        assert server.metric('astec_queries_total{model="next"}') == share
        assert server.metric('astec_queries_total{model="current"}') == len(QUERIES) - share
        some = [QUERIES[names.index("next")], *QUERIES[:9]]
        for _ in range(4):
            for query in some:
                answer = server.post({"query": query})
                assert answer["model"]["name"] == names[QUERIES.index(query)]
    records = [record for file in find_files(tmp_path / "log") for record in read_records(file)]
    assert len(records) == len(QUERIES) + 40
    assert {(record["query"], record["model"]) for record in records} == set(zip(QUERIES, names, strict=True))
    assert {record["version"] for record in records if record["model"] == "next"} == {"next-1"}
    with served(tmp_path, *flags) as server:
        assert server.models_of(QUERIES[:2000]) == names[:2000]


def test_a_header_divides_users(demo_artifact: Path, next_artifact: Path, tmp_path: Path) -> None:
    flags = (*pair(demo_artifact, next_artifact), "--share", "next=30", "--share-by", "header:X-User-Id")
    split = TrafficSplit([30], b"x-user-id")
    with served(tmp_path, *flags, "--workers", 2) as server:
        for number in range(40):
            user = f"user-{number}"
            name = "next" if split.model_of("", user.encode()) else "current"
            for query in QUERIES[:3]:
                assert server.post({"query": query}, **{"X-User-Id": user})["model"]["name"] == name
                gets_through_asgi = {"X-User-Id": user, "Expect": "100-continue"}
                assert server.post({"query": query}, **gets_through_asgi)["model"]["name"] == name
        assert server.post({"query": "a"})["model"]["name"] == "current"


def test_a_shadow_answers_nothing_and_what_it_would_have_answered_is_compared(
    demo_artifact: Path, next_artifact: Path, demo_queries: list[str], tmp_path: Path
) -> None:
    with served(tmp_path, *pair(demo_artifact, next_artifact), "--shadow", "next", "--workers", 2) as server:
        listed = server.get("/v2/models").json()["served"]
        assert [(one["name"], one["share"], one["shadow"]) for one in listed] == [
            ("current", 100, False),
            ("next", 0, True),
        ]
        answers = [server.post({"query": query}) for query in demo_queries]
        assert {answer["model"]["name"] for answer in answers} == {"current"}
        count = 'astec_shadow_overlap_count{k="5",model="next"}'
        server.until(lambda: server.metric(count) == len(demo_queries))
        assert server.metric('astec_queries_total{model="next"}') == len(demo_queries)
        assert server.metric('process_resident_memory_bytes{worker="2"}') > 0  # its process, after those of the workers
        # Requests by its name are answered, and not compared with themselves.
        others = [server.post({"query": query, "model": "next"}) for query in demo_queries]
        assert {answer["model"]["name"] for answer in others} == {"next"}
        for ranks in (1, 3, 5):
            labels = [[[p["label"] for p in one["predictions"]] for one in both] for both in (answers, others)]
            expected = sum(overlap_at(ranks, mine, theirs) for mine, theirs in zip(*labels, strict=True))
            assert server.metric(f'astec_shadow_overlap_sum{{k="{ranks}",model="next"}}') == pytest.approx(expected)
            assert 0.1 * len(demo_queries) < expected < 0.95 * len(demo_queries)
        assert server.metric(count) == len(demo_queries)
        tensor = {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["running shoes"]}
        server.post({"inputs": [tensor]}, "/v2/models/current/infer")
        server.until(lambda: server.metric(count) == len(demo_queries) + 1)


def test_both_models_are_replaced_or_none(demo_artifact: Path, next_artifact: Path, tmp_path: Path) -> None:
    newest = change_artifact(demo_artifact, tmp_path / "newest", "newest", bytes.upper)
    current, other = tmp_path / "current", tmp_path / "next"
    current.symlink_to(demo_artifact)
    other.symlink_to(next_artifact)
    first = json.loads((demo_artifact / "manifest.json").read_bytes())["model"]["version"]

    def versions(server: Server) -> list[str]:
        return [one["version"] for one in server.get("/v2/models").json()["served"]]

    with served(tmp_path, *pair(current, other), "--shadow", "next", "--workers", 1) as server:
        assert versions(server) == [first, "next-1"]
        other.unlink()
        other.symlink_to(newest)
        server.reload()
        assert versions(server) == [first, "newest"]
        server.post({"query": "running shoes"})
        server.until(lambda: server.metric('astec_shadow_overlap_count{k="1",model="next"}') == 1)
        # A damaged artifact of one model leaves both as they are.
        for link, target in ((current, newest), (other, tmp_path / "nothing")):
            link.unlink()
            link.symlink_to(target)
        server.reload("refused")
        assert versions(server) == [first, "newest"]
        # A step back: the candidate is the first model again.
        for link in (current, other):
            link.unlink()
            link.symlink_to(demo_artifact)
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: versions(server) == [first, first])


def test_a_shadow_that_is_killed_is_replaced_and_answers_go_on(
    demo_artifact: Path, next_artifact: Path, tmp_path: Path
) -> None:
    with served(tmp_path, *pair(demo_artifact, next_artifact), "--shadow", "next", "--workers", 1) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        worker, shadow = map(int, children.read_text().split())
        (signal_target,) = [pid for pid in (worker, shadow) if niceness(pid) == 19]
        subprocess.run(["kill", "-KILL", str(signal_target)], check=True)
        for query in QUERIES[:50]:
            assert server.post({"query": query})["model"]["name"] == "current"
        server.until(lambda: server.metric('astec_shadow_overlap_count{k="1",model="next"}') == 50)
        assert server.metric("astec_worker_deaths_total") == 1


def niceness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--share", "next=5"], "--share (or ASTEC_SHARE): Value error, only one model is served"),
        (["artifacts/b"], "ARTIFACT (or ASTEC_ARTIFACT): Value error, of several artifacts each needs a name"),
    ],
)
def test_flags_are_refused_before_anything_is_opened(flags: list[str], problem: str) -> None:
    done = subprocess.run(
        [*COMMAND, "artifacts/a", *flags], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"astec-serve: {problem}")
    assert done.stderr.count("\n") == 1
