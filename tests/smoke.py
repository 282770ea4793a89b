"""Start a server, ask it what its users would, check the answers, stop it.

Usage: python -m tests.smoke TEST_DATA COMMAND...

COMMAND starts the server, and announces its address, which must be one that this machine reaches.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import httpx

from astec.export.readers import open_dataset

NUM_QUERIES = 500
# The demo model puts a clicked phrase first for about two queries in three; chance is below one in a thousand.
MIN_PRECISION_AT_1 = 0.5
TIMEOUT_S = 120


def main(test_file: Path, command: list[str]) -> None:
    """Raises AssertionError, with what was seen, when the server does not do its job."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watchdog = Timer(TIMEOUT_S, server.kill)
    watchdog.start()
    try:
        with httpx.Client(base_url=_url(server), timeout=10) as client:
            precision = _ask(client, test_file)
            _ask_oddly(client)
        server.send_signal(signal.SIGTERM)
        server.wait()
    finally:
        watchdog.cancel()
        server.kill()
    _require(server.returncode == 0, f"the server stopped with exit code {server.returncode}")
    print(f"smoke: {NUM_QUERIES} queries answered, a clicked phrase first for {precision:.0%}, stopped cleanly")


def _url(server: subprocess.Popen[str]) -> str:
    """The address that the server announces once it is ready."""
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="")
        if "http://" in line:
            return line[line.index("http://") :].split()[0]
    raise AssertionError("the server ended before it was ready")


def _ask(client: httpx.Client, test_file: Path) -> float:
    """Single and batch answers must agree, and be right often enough; returns the share of right first answers."""
    rows = [row for _, row in zip(range(NUM_QUERIES), open_dataset(test_file, "test").rows(), strict=False)]
    single = [client.post("/predict", json={"query": row.query}).raise_for_status().json() for row in rows]
    batch = client.post("/predict", json={"queries": [row.query for row in rows]}).raise_for_status().json()
    right = 0
    for row, alone, together in zip(rows, single, batch["results"], strict=True):
        first = [prediction["label"] for prediction in alone["predictions"]]
        _require(
            first == [prediction["label"] for prediction in together["predictions"]],
            "a query alone and in a batch got different answers",
        )
        right += bool(first) and first[0] in row.labels
    precision = right / len(rows)
    _require(precision >= MIN_PRECISION_AT_1, f"only {precision:.0%} of the first answers are right")
    return precision


def _ask_oddly(client: httpx.Client) -> None:
    empty = client.post("/predict", json={"query": "🎉"})
    _require(empty.status_code == 200 and empty.json()["predictions"] == [], f"an emoji got {empty.status_code}")
    malformed = client.post("/predict", content=b'{"query": ')
    _require(malformed.status_code == 400, f"malformed JSON got {malformed.status_code}")
    for path in ("/healthz", "/readyz", "/metrics", "/v1/model", "/"):
        _require(client.get(path).status_code == 200, f"{path} does not answer 200")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
