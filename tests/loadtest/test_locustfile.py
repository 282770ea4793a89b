import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_locust_runs_the_same_traffic(serve, queries_file):
    server = serve()
    # A subprocess, because locust patches sockets and threads of the whole process.
    command = [sys.executable, "-m", "locust", "-f", ROOT / "loadtest" / "locustfile.py", "--headless", "--json"]
    traffic = ["--queries", queries_file, "--odd-share", "0.5", "--top-k", "3"]
    process = subprocess.run(
        [*command, "--host", server.url, "--users", "2", "--spawn-rate", "2", "--run-time", "2s", *traffic],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
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
