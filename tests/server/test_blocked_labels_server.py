"""The real command with blocked labels, in two processes, through changes of the file and of the model."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from astec.export.artifact.store import open_artifact

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0


class Server(NamedTuple):
    url: str
    file: Path
    link: Path
    log: Path
    process: subprocess.Popen[str]

    def best(self, query: str) -> list[str]:
        """Return the labels of a query, asked on a new connection, so that any worker may answer it."""
        answer = httpx.post(f"{self.url}/predict", json={"query": query, "top_k": 5}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return [prediction["label"] for prediction in answer.json()["predictions"]]

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    def settle(self, is_settled: Callable[[], bool]) -> None:
        """Wait until twenty new connections in a row, so both workers, agree."""
        give_up_s, agreed = time.monotonic() + PATIENCE_S, 0
        while agreed < 20:
            agreed = agreed + 1 if is_settled() else 0
            assert time.monotonic() < give_up_s, self.log.read_text()
            time.sleep(0.01)


@pytest.fixture
def server(demo_artifact: Path, quoting_artifact: Path, tmp_path: Path) -> Iterator[Server]:
    file, link, log = tmp_path / "blocked", tmp_path / "current", tmp_path / "stderr"
    file.write_text("\n")
    link.symlink_to(demo_artifact)
    command = [sys.executable, "-m", "astec.server", str(link), "--port", "0", "--workers", "2"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command, "--blocked-labels", str(file), "--cache-entries", "100"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None, log.read_text()
            yield Server(address[0], file, link, log, process)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_labels_are_blocked_in_all_workers_through_changes_of_file_and_model(
    server: Server, demo_artifact: Path, quoting_artifact: Path
) -> None:
    query, plain = next(
        (label, found) for label in open_artifact(demo_artifact).labels if len(found := server.best(label)) == 5
    )
    server.settle(lambda: server.best(query) == plain)

    partial = server.file.with_name("partial")
    partial.write_text(f"{plain[0]}\nno such label\n{plain[2]}")
    partial.rename(server.file)
    server.settle(lambda: not {plain[0], plain[2]} & set(server.best(query)) and len(server.best(query)) == 5)
    assert server.metric("astec_blocked_labels") == 2
    assert server.metric("astec_answers_without_blocked_total") > 0
    assert server.log.read_text().count("'no such label'") == 1

    server.file.write_bytes(f"{plain[0]}\nhalf of a la".encode())
    server.settle(lambda: "half of a la" in server.log.read_text())
    server.settle(lambda: not {plain[0], plain[2]} & set(server.best(query)))
    server.file.unlink()
    server.settle(lambda: "cannot be read" in server.log.read_text())

    # The same labels are blocked in another model, although the file cannot be read while its workers start.
    server.link.unlink()
    server.link.symlink_to(quoting_artifact)
    server.process.send_signal(signal.SIGHUP)
    server.settle(lambda: server.metric('astec_reloads_total{outcome="done"}') == 1)
    server.settle(lambda: not {plain[0], plain[2]} & set(server.best(query)))

    server.file.write_text("\n")
    server.settle(lambda: plain[0] in server.best(query))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "the blocked labels in .* cannot be read"), (b"Gr\xc3", "line 1 is not UTF-8: half-written")],
    ids=["missing", "half-written"],
)
def test_the_server_does_not_start_without_a_file_that_can_be_used(
    demo_artifact: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "blocked"
    if content is not None:
        file.write_bytes(content)
    command = [sys.executable, "-m", "astec.server", str(demo_artifact), "--port", "0", "--blocked-labels", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert re.search(complaint, ended.stderr)
