"""The real command with keys, a limit and a port for operators, in several processes."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
FIRST, SECOND, WITHDRAWN, NEW, OPERATORS = (digits * 8 for digits in ("0123", "4567", "89ab", "cdef", "f00d"))
CONSTANT = f"ads:{FIRST}\nsearch:{SECOND}\noperator:{OPERATORS}\n"


class Guarded(NamedTuple):
    url: str
    admin_url: str
    keys: Path
    log: Path

    def status(self, key: str, queries: int = 1) -> int:
        """Send a request on a new connection, so that any worker may answer it."""
        headers = {"Authorization": f"Bearer {key}", "Origin": "https://b.example"}
        asked = {"queries": ["a"] * queries}
        return httpx.post(f"{self.url}/predict", json=asked, headers=headers, timeout=PATIENCE_S).status_code

    def metrics(self) -> str:
        return httpx.get(f"{self.admin_url}/metrics", timeout=PATIENCE_S).text

    def workers(self) -> set[str]:
        return set(re.findall(r'worker="(\d+)"', self.metrics()))


@pytest.fixture(scope="module")
def guarded(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, log = folder / "keys", folder / "stderr"
    keys.write_text(f"{CONSTANT}mobile:{WITHDRAWN}\n")
    keys.chmod(0o600)
    flags = ["--port", 0, "--admin-port", 0, "--workers", 3, "--api-keys-file", keys]
    # A query an hour, so that the speed of the test makes no difference.
    flags += ["--rate-limit-qps", 1 / 3600, "--rate-limit-burst", 1000]
    flags += ["--cors-origin", "https://a.example", "--cors-origin", "https://b.example"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "astec.server", *map(str, [demo_artifact, *flags])],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            announced = process.stdout.readline() + process.stdout.readline()
            ports = re.findall(r"(?:port |127\.0\.0\.1:)(\d+)", announced)
            assert len(ports) >= 2, announced + log.read_text()
            public, *_, admin = (f"http://127.0.0.1:{port}" for port in ports)
            yield Guarded(public, admin, keys, log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_metrics_are_on_the_admin_port_for_all_workers(guarded: Guarded) -> None:
    assert httpx.get(f"{guarded.url}/metrics").status_code == 404
    for _ in range(5):
        assert len(guarded.workers()) >= 3
    assert httpx.get(f"{guarded.url}/readyz").status_code == 200


def test_workers_share_the_limit_of_a_key(guarded: Guarded) -> None:
    answers = [guarded.status(FIRST, 100) for _ in range(30)]
    assert answers == [200] * 10 + [429] * 20
    assert guarded.status(SECOND) == 200


def test_keys_change_in_every_worker_without_a_restart(guarded: Guarded) -> None:
    guarded.keys.write_text("broken")
    fresh = guarded.keys.with_name("fresh")
    fresh.write_text(f"{CONSTANT}mobile:{NEW}\n")
    assert {guarded.status(WITHDRAWN) for _ in range(10)} == {200}
    fresh.rename(guarded.keys)
    give_up_s = time.monotonic() + PATIENCE_S
    while {(guarded.status(WITHDRAWN), guarded.status(NEW)) for _ in range(10)} != {(401, 200)}:
        assert time.monotonic() < give_up_s
    log = guarded.log.read_text()
    assert "4 keys of 4 clients are in use" in log
    assert not any(key in log for key in (FIRST, SECOND, WITHDRAWN, NEW, OPERATORS))


def test_the_operator_has_all_workers_replaced_over_http(guarded: Guarded) -> None:
    def ask(url: str, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{url}/v1/model/reload", headers=headers, timeout=PATIENCE_S).status_code

    before = guarded.workers()
    assert (ask(guarded.url, OPERATORS), ask(guarded.admin_url, FIRST)) == (404, 403)
    assert ask(guarded.admin_url, OPERATORS) == 202
    give_up_s = time.monotonic() + PATIENCE_S
    while 'astec_reloads_total{outcome="done"} 1.0' not in guarded.metrics() or len(guarded.workers()) != len(before):
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    assert before.isdisjoint(guarded.workers())
    assert guarded.status(SECOND) == 200


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--api-keys-file", "/nowhere/keys"], "/nowhere/keys cannot be read"),
        (["--rate-limit-qps", "5"], "--rate-limit-qps (or ASTEC_RATE_LIMIT_QPS): Value error, limits are per key"),
        (["--cors-origin", "*"], "--cors-origin (or ASTEC_CORS_ORIGIN): Value error, '*' is not an origin"),
    ],
    ids=["keys", "rate", "origin"],
)
def test_what_would_let_in_the_wrong_ones_ends_the_start(demo_artifact: Path, flags: list[str], complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "astec.server", str(demo_artifact), "--port", "0", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""
