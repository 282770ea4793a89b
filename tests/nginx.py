"""A real nginx in front of a server, below a prefix that it strips from the paths, or not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from astec.server.http.listeners import open_listeners

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE_S = 30.0

needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="there is no nginx in PATH or /usr/sbin; on Debian, apt-get install nginx-light gets it"
)

# Relative paths are below the folder of the configuration. As root, nginx would have workers that may not read it.
CONFIGURATION = """
{user} worker_processes 1; pid nginx.pid; error_log stderr; daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary; uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    upstream astec {{ server {upstream}; keepalive 8; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream off;
    server {{ listen 127.0.0.1:{stripping}; location {prefix}/ {{ proxy_pass http://astec/; }} }}
    server {{ listen 127.0.0.1:{keeping}; location {prefix} {{ proxy_pass http://astec; }} }}
}}
"""


class Proxied(NamedTuple):
    """Where nginx shows the server: with the prefix stripped from the paths that the server gets, and with it kept."""

    stripping: str
    keeping: str


@contextmanager
def nginx(folder: Path, upstream: str, prefix: str) -> Iterator[Proxied]:
    """Run nginx in front of a server: an address `HOST:PORT`, or `unix:PATH`."""
    assert NGINX is not None
    stripping, keeping = free_port(), free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIGURATION.format(user=user, upstream=upstream, prefix=prefix, stripping=stripping, keeping=keeping)
    (folder / "nginx.conf").write_text(text)
    with (folder / "nginx.log").open("w") as log:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf", "-e", "stderr"], stderr=log)
    with process:
        try:
            for port in (stripping, keeping):
                wait_for(port, process, folder / "nginx.log")
            yield Proxied(*(f"http://127.0.0.1:{port}{prefix}" for port in (stripping, keeping)))
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
