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

PATIENCE_S = 60.0
FIRST, SECOND = "0123456789abcdef" * 2, "fedcba9876543210" * 2


class Guarded(NamedTuple):
    url: str
    admin_url: str
    keys: Path
    log: Path

    def status(self, key: str, queries: int = 1) -> int:
        """The answer to a request on a connection of its own, so that any worker may get it."""
        headers = {"Authorization": f"Bearer {key}", "Origin": "https://b.example"}
        asked = {"queries": ["a"] * queries}
        return httpx.post(f"{self.url}/predict", json=asked, headers=headers, timeout=PATIENCE_S).status_code


@pytest.fixture(scope="module")
def guarded(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, log = folder / "keys", folder / "stderr"
    keys.write_text(f"ads:{FIRST}\nsearch:{SECOND}\n")
    keys.chmod(0o600)
    flags = ["--port", 0, "--admin-port", 0, "--workers", 3, "--api-keys-file", keys]
    # A query an hour, so that how fast the test is makes no difference.
    flags += ["--rate-limit-qps", 1 / 3600, "--rate-limit-burst", 1000]
    flags += ["--cors-origin", "https://a.example", "--cors-origin", "https://b.example"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", *map(str, [demo_artifact, *flags])],
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
        metrics = httpx.get(f"{guarded.admin_url}/metrics")
        assert metrics.status_code == 200
        assert {f'worker="{slot}"' in metrics.text for slot in range(3)} == {True}
    assert httpx.get(f"{guarded.url}/readyz").status_code == 200


def test_workers_share_the_limit_of_a_key(guarded: Guarded) -> None:
    answers = [guarded.status(FIRST, 100) for _ in range(30)]
    assert answers == [200] * 10 + [429] * 20
    assert guarded.status(SECOND) == 200


def test_keys_change_in_every_worker_without_a_restart(guarded: Guarded) -> None:
    guarded.keys.write_text("broken")
    fresh = guarded.keys.with_name("fresh")
    third = "00112233445566778899aabbccddeeff"
    fresh.write_text(f"search:{third}\n")
    assert {guarded.status(SECOND) for _ in range(10)} == {200}
    fresh.rename(guarded.keys)
    give_up_s = time.monotonic() + PATIENCE_S
    while {(guarded.status(SECOND), guarded.status(third)) for _ in range(10)} != {(401, 200)}:
        assert time.monotonic() < give_up_s
    log = guarded.log.read_text()
    assert "1 keys of 1 clients are in use" in log
    assert not any(key in log for key in (FIRST, SECOND, third))


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
        [sys.executable, "-m", "server", str(demo_artifact), "--port", "0", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""
