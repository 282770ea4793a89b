"""The echo server that the server is compared with."""

import json
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from astec.loadtest.bench.serving import ServeError, echo_command, served

pytestmark = pytest.mark.e2e


def test_the_echo_answers_its_size_from_all_its_workers():
    with served(echo_command(workers=2, body_bytes=300)) as server:
        with urlopen(f"{server.url}/predict", b'{"query": "red shoes"}') as answer:
            body = answer.read()
            assert answer.headers["Content-Type"] == "application/json"
            assert "score;dur=" in answer.headers["Server-Timing"]
        assert len(body) == 300
        assert json.loads(body).keys() == {"echo"}
        assert len(server.workers()) == 2
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"{server.url}/elsewhere")
        refused.value.close()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{server.url}/predict", b"{}")


def test_a_server_that_does_not_start_says_why():
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(ServeError, match="no such model"), served(command):
        pass
