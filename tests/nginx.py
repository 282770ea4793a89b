"""A real nginx: before a server, below a prefix that it strips from the paths or not; or before several servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from astec.loadtest.bench.serving import children_of
from astec.server.http.listeners import open_listeners

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE_S = 30.0

needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="there is no nginx in PATH or /usr/sbin; on Debian, apt-get install nginx-light gets it"
)

# Relative paths are below the folder of the configuration. As root, nginx would have workers that may not read it.
CONFIGURATION = """
{user} worker_processes 1; pid nginx.pid; error_log stderr; daemon off;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary; uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    upstream astec {{ include upstream.conf; keepalive 64; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream off;
    {servers}
}}
"""


class Proxied(NamedTuple):
    """Where nginx shows the server: with the prefix stripped from the paths that the server gets, and with it kept."""

    stripping: str
    keeping: str


class Balancer:
    """An nginx before servers that change, as the proxies of a cluster are told of the pods that take requests."""

    def __init__(self, url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.url, self._folder, self._process = url, folder, process

    def send_to(self, *addresses: str) -> None:
        """Send new requests to these servers, and return when it does."""
        before = set(children_of(self._process.pid))
        _write_upstream(self._folder, *addresses)
        self._process.send_signal(signal.SIGHUP)
        end_s = time.monotonic() + PATIENCE_S
        while not set(children_of(self._process.pid)) - before:
            assert time.monotonic() < end_s, (self._folder / "nginx.log").read_text()
            time.sleep(0.01)


@contextmanager
def nginx(folder: Path, upstream: str, prefix: str) -> Iterator[Proxied]:
    """Run nginx in front of a server: an address `HOST:PORT`, or `unix:PATH`."""
    stripping, keeping = free_port(), free_port()
    servers = (
        f"server {{ listen 127.0.0.1:{stripping}; location {prefix}/ {{ proxy_pass http://astec/; }} }}\n"
        f"server {{ listen 127.0.0.1:{keeping}; location {prefix} {{ proxy_pass http://astec; }} }}"
    )
    _write_upstream(folder, upstream)
    with _running(folder, servers, stripping, keeping):
        yield Proxied(*(f"http://127.0.0.1:{port}{prefix}" for port in (stripping, keeping)))


@contextmanager
def balancer(folder: Path, *addresses: str) -> Iterator[Balancer]:
    """Run nginx before several servers.

    A client's connection is closed after an answer: nginx would close idle ones when the servers change, just when a
    client may be sending. Its own connections to the servers stay open.
    """
    port = free_port()
    servers = f"server {{ listen 127.0.0.1:{port}; keepalive_timeout 0; location / {{ proxy_pass http://astec; }} }}"
    _write_upstream(folder, *addresses)
    with _running(folder, servers, port) as process:
        yield Balancer(f"http://127.0.0.1:{port}", folder, process)


def _write_upstream(folder: Path, *addresses: str) -> None:
    (folder / "upstream.conf").write_text("".join(f"server {address};\n" for address in addresses))


@contextmanager
def _running(folder: Path, servers: str, *ports: int) -> Iterator[subprocess.Popen[bytes]]:
    assert NGINX is not None
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIGURATION.format(user=user, servers=servers))
    with (folder / "nginx.log").open("w") as log:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf", "-e", "stderr"], stderr=log)
    with process:
        try:
            for port in ports:
                wait_for(port, process, folder / "nginx.log")
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def free_port() -> int:
    (probe,) = open_listeners("127.0.0.1", 0, 1)
    with probe:
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end_s, log.read_text()
            time.sleep(0.05)
