"""The real command under more load than it can serve."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
# Far more than a turn of a saturated event loop takes, far less than what waits behind all of its connections.
ANSWERED_WITHIN_S = 10.0


def test_probes_and_metrics_answer_while_the_model_is_saturated(demo_artifact: Path) -> None:
    flags = ("--port", "0", "--workers", "1", "--inference-threads", "1", "--queue-capacity", "32")
    patient = ("--request-timeout-ms", "60000")  # A busy machine is no reason for a 504.
    server = subprocess.Popen(
        [sys.executable, "-m", "astec.server", str(demo_artifact), *flags, *patient], stdout=subprocess.PIPE, text=True
    )
    with server:
        try:
            url = next(line[line.index("http://") :].split()[0] for line in server.stdout if "http://" in line)
            # More clients than places: as long as they ask, somebody is refused.
            load = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "astec.loadtest",
                    url,
                    "--clients",
                    "256",
                    "--duration",
                    "4",
                    "--timeout",
                    "60",
                    "--json",
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            with load:
                answered = dict.fromkeys(("/healthz", "/readyz", "/metrics"), 0)
                while load.poll() is None:
                    for path in answered:
                        # A connection of its own for each, as probes and scrapers have.
                        assert httpx.get(f"{url}{path}", timeout=ANSWERED_WITHIN_S).status_code == 200
                        answered[path] += 1
                report = json.loads(load.stdout.read())
        finally:
            server.terminate()
            assert server.wait(PATIENCE_S) == 0
    assert report["errors"].keys() == {"status_429"}
    assert report["errors"]["status_429"] > 0
    assert report["answered"] > 0
    assert min(answered.values()) > 1
