"""How long an idle connection stays open: proxies keep connections, and send requests on them much later."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from astec.loadtest.bench.serving import Served, ours_command, served

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
UVICORNS_DEFAULT_S = 5
BODY = b'{"query": "running shoes"}'


def connect(server: Served) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def predict(connection: socket.socket) -> bytes:
    """Send a prediction, which is answered without ASGI, and return its answer; the connection stays open."""
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
    return answer_on(connection)


def ready(connection: socket.socket) -> bytes:
    """Send a request that the web framework answers."""
    connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n")
    return answer_on(connection)


def answer_on(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
        assert "connection" not in fields
        return stream.read(int(fields["content-length"]))


def test_by_default_a_connection_outlives_the_old_limit(demo_artifact: Path) -> None:
    with served(ours_command(demo_artifact, 1)) as server, connect(server) as one, connect(server) as other:
        before = predict(one), ready(other)
        time.sleep(UVICORNS_DEFAULT_S + 1)
        assert (predict(one), ready(other)) == before


def test_a_connection_is_closed_when_its_time_is_over(demo_artifact: Path) -> None:
    command = ours_command(demo_artifact, 1, "--keep-alive-s", "1")
    with served(command) as server, connect(server) as one, connect(server) as other:
        assert json.loads(predict(one))["predictions"]
        ready(other)
        assert (one.recv(1), other.recv(1)) == (b"", b"")


def test_a_stopping_server_does_not_wait_for_idle_connections(demo_artifact: Path) -> None:
    flags = ("--keep-alive-s", "600", "--drain-s", "1", "--shutdown-timeout-s", "600")
    with served(ours_command(demo_artifact, 1, *flags)) as server, connect(server) as one, connect(server) as other:
        predict(one)
        ready(other)
        os.kill(server.pid, signal.SIGTERM)
        assert (one.recv(1), other.recv(1)) == (b"", b"")
