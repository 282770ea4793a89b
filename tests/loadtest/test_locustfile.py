import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.server.http.listeners import open_listeners

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
# A subprocess, because locust patches sockets and threads of the whole process.
LOCUST = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")]
PATIENCE_S = 60


def test_locust_runs_the_same_traffic(serve, queries_file):
    server = serve()
    traffic = ["--queries", queries_file, "--odd-share", "0.5", "--top-k", "3"]
    users = ["--users", "2", "--spawn-rate", "2", "--run-time", "2s"]
    process = subprocess.run(
        [*LOCUST, "--headless", "--json", "--host", server.url, *users, *traffic],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    (stats,) = json.loads(process.stdout)
    assert (stats["method"], stats["name"]) == ("POST", "/predict")
    assert stats["num_requests"] > 0
    assert stats["num_failures"] == 0
    queries = {payload["query"] for payload in server.payloads}
    assert set(queries_file.read_text(encoding="utf-8").splitlines()) <= queries
    assert "" in queries
    assert {payload["top_k"] for payload in server.payloads} == {3}


@pytest.fixture
def locust_page():
    """The address of locust's web page, before any load is started."""
    (probe,) = open_listeners("127.0.0.1", 0, 1)
    with probe:
        port = str(probe.getsockname()[1])
    command = [*LOCUST, "--web-host", "127.0.0.1", "--web-port", port]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if "web interface" in line:
                    yield f"http://127.0.0.1:{port}"
                    break
            else:
                pytest.fail("locust ended before its page was there")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize("file_is_named", [False, True], ids=["demo-queries", "queries-of-a-file"])
def test_the_web_page_starts_the_traffic(locust_page, serve, queries_file, file_is_named):
    server = serve()
    assert "Locust" in httpx.get(locust_page, timeout=PATIENCE_S).text
    form = {"user_count": "2", "spawn_rate": "2", "host": server.url, "zipf": "1.0", "odd_share": "0", "top_k": "3"}
    # The page also sends fields that are left empty.
    form |= {"seed": "0", "queries": str(queries_file) if file_is_named else ""}
    started = httpx.post(f"{locust_page}/swarm", data=form, timeout=PATIENCE_S).json()
    assert started["success"], started
    stats: dict[str, Any] = {}
    give_up_s = time.monotonic() + PATIENCE_S
    while not stats.get("num_requests"):
        assert time.monotonic() < give_up_s, "locust sent nothing"
        (*_, stats) = httpx.get(f"{locust_page}/stats/requests", timeout=PATIENCE_S).json()["stats"]
        time.sleep(0.05)
    assert stats["num_failures"] == 0
    queries = {payload["query"] for payload in server.payloads}
    assert queries
    assert (queries <= set(queries_file.read_text(encoding="utf-8").splitlines())) == file_is_named
