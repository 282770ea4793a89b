"""A rolling update to another model, as Kubernetes does it, with the times of the manifests: behind nginx, under load.

Two servers, as pods of a Deployment, are replaced one after the other: a new one starts and is ready, and nginx is
told; an old one is to stop, and nginx is told somewhat late, as the parts of a cluster are.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from tests.deploy.manifest_files import server_pods
from tests.nginx import Balancer, balancer, needs_nginx
from tests.server.changed_artifact import change_artifact

pytestmark = [pytest.mark.e2e, needs_nginx]

# `make rolling-update` sends 1,000 queries a second for a minute; otherwise the load ends with the update.
RATE_PER_S = float(os.environ.get("ROLLING_UPDATE_RATE", "200"))
DURATION_S = float(os.environ.get("ROLLING_UPDATE_SECONDS", "0"))
# By `make rolling-update-containers`: the command, without image, of which each server is a container; else a process.
RUN_CONTAINER = shlex.split(os.environ.get("ROLLING_UPDATE_RUN", ""))
MOST_S = 600
PATIENCE_S = 60.0
POD = server_pods()["kustomize"]
DELAY_S = POD.container["lifecycle"]["preStop"]["sleep"]["seconds"]
# Seconds after which nginx is told that a pod is stopped; the proxies of a cluster take about as long.
TOLD_AFTER_S = 0.6 * DELAY_S
# A request that waits for a busy machine is no lost one.
OWN_FLAGS = {"port": "0", "request-timeout-ms": "30000"}


class Pods:
    """The servers that nginx sends to, each with the stack that stops it."""

    def __init__(self) -> None:
        self.running: list[tuple[Served, ExitStack]] = []

    def start(self, artifact: Path) -> None:
        """Start a server with the flags of the manifests; return when it is ready."""
        flags = POD.flags | OWN_FLAGS
        del flags["admin-port"]  # of each pod its own; here they share a machine
        command = server_command(artifact, *(f"--{name}={value}" for name, value in flags.items()))
        stack = ExitStack()
        server = stack.enter_context(served(command))
        assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).status_code == 200
        self.running.append((server, stack))

    def addresses(self) -> list[str]:
        return [server.url.removeprefix("http://") for server, _ in self.running]

    def replace_first(self, artifact: Path, proxy: Balancer) -> float:
        """Replace the oldest server as a Deployment with maxSurge 1 does; return the seconds that it took to stop."""
        self.start(artifact)
        proxy.send_to(*self.addresses())
        (server, stack) = self.running.pop(0)
        time.sleep(TOLD_AFTER_S)
        proxy.send_to(*self.addresses())
        time.sleep(DELAY_S - TOLD_AFTER_S)
        begun_s = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        while not has_ended(server.pid):
            time.sleep(0.05)
        stopped_s = time.monotonic() - begun_s
        stack.close()
        return stopped_s

    def stop(self) -> None:
        for _, stack in self.running:
            stack.close()


def server_command(artifact: Path, *flags: str) -> list[str]:
    """The command of a server, as a process or in a container; SIGTERM stops either."""
    if not RUN_CONTAINER:
        return ours_command(artifact, 1, *flags)
    command = [*RUN_CONTAINER, "--volume", f"{artifact}:/artifact:ro", "astec-server"]
    return [*command, "--host", "127.0.0.1", "--workers", "1", "--log-level", "warning", *flags]


def has_ended(pid: int) -> bool:
    """Whether a child process has ended, and waits for this one to ask for its code."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@contextmanager
def asked_all_the_time(url: str, query: str) -> Iterator[Counter[tuple[int, str]]]:
    """Count answers by their status and the version that gave them, of queries beside the load."""
    seen, stop = Counter[tuple[int, str]](), threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not stop.wait(0.02):
                answer = client.post(f"{url}/predict", json={"query": query})
                version = answer.json()["model"]["version"] if answer.status_code == 200 else ""
                seen[answer.status_code, version] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def pods() -> Iterator[Pods]:
    pods = Pods()
    yield pods
    pods.stop()


def load(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "astec.loadtest", "run", url, "--json", "--timeout", "30"]
    command += ["--rate", str(RATE_PER_S), "--duration", str(MOST_S), "--max-in-flight", "256"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_rolling_update_behind_nginx_loses_no_request(pods: Pods, demo_artifact: Path, tmp_path: Path) -> None:
    following = change_artifact(demo_artifact, tmp_path / "next", "next", bytes.upper)
    for _ in range(2):
        pods.start(demo_artifact)
    with (
        balancer(tmp_path, *pods.addresses()) as proxy,
        asked_all_the_time(proxy.url, "running shoes") as seen,
        load(proxy.url) as process,
    ):
        begun_s = time.monotonic()
        time.sleep(2 + DURATION_S / 6)
        stopped_s = [pods.replace_first(following, proxy) for _ in range(2)]
        time.sleep(max(2, begun_s + DURATION_S - time.monotonic()))
        process.send_signal(signal.SIGINT)
        report: dict[str, Any] = json.loads(process.communicate(timeout=PATIENCE_S)[0])
    print(json.dumps({"report": report, "stopped_s": stopped_s, "seen": [[*key, seen[key]] for key in seen]}))
    assert report["interrupted"]
    assert report["errors"] == {}
    assert report["answered"] == report["sent"] > 0
    assert {status for status, _ in seen} == {200}
    versions = [version for _, version in seen]  # in the order in which they were first seen
    assert len(versions) == 2
    assert versions[1] == "next"
    assert max(stopped_s) < POD.grace_s - DELAY_S
