"""Requests that are lost while workers are restarted, replaced, killed and stopped under load, by real signals."""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from astec.loadtest.generator.connection import CONNECTION, OK
from tests.linked_artifacts import put_in_volume
from tests.server.changed_artifact import change_artifact
from tests.server.steady_load import CONNECTIONS, PATIENCE_S, RATE_PER_S, under_load, until

pytestmark = pytest.mark.e2e

# The tests' load shares its CPUs with whatever else runs; a deadline is not what they are about.
FLAGS = ("--request-timeout-ms", "30000", "--drain-s", "3")


@pytest.fixture(scope="module")
def other_artifact(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return change_artifact(demo_artifact, tmp_path_factory.mktemp("next") / "artifact", "next", bytes.upper)


@pytest.fixture(scope="module")
def bodies(demo_queries: list[str]) -> list[bytes]:
    """Return the bodies of the requests."""
    return [json.dumps({"query": query}).encode() for query in demo_queries[::4]]


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Return a function that starts the real command with two workers; it is stopped after the test."""
    running = []

    def start(artifact: Path, *flags: str, workers: int = 2) -> Served:
        running.append(served(ours_command(artifact, workers, *FLAGS, *flags)))
        return running[-1].__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)


async def metric(server: Served, series: str) -> float:
    text = (await asyncio.to_thread(httpx.get, f"{server.url}/metrics", timeout=PATIENCE_S)).text
    (value,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == series]
    return float(value)


async def reload(server: Served, outcome: str = "done") -> None:
    """Request new workers; return when the replacement is over and all old workers have ended."""
    series = f'astec_reloads_total{{outcome="{outcome}"}}'
    before, workers = await metric(server, series), len(server.workers())

    async def happened() -> bool:
        return await metric(server, series) > before and len(server.workers()) == workers

    os.kill(server.pid, signal.SIGHUP)
    await until(happened)


def ask_all(server: Served, bodies: list[bytes]) -> set[tuple[bytes, bytes]]:
    with httpx.Client(timeout=PATIENCE_S) as client:
        return {(body, client.post(f"{server.url}/predict", content=body).content) for body in bodies}


def point(link: Path, artifact: Path) -> None:
    """Replace a link atomically, as `ln -sfn` and `mv -T` do."""
    aside = link.with_name("aside")
    aside.symlink_to(artifact)
    aside.replace(link)


async def test_a_rolling_restart_loses_no_request(serve, demo_artifact: Path, bodies: list[bytes]) -> None:
    server = serve(demo_artifact)
    right, before = ask_all(server, bodies), server.workers()
    async with under_load(server.url, bodies) as load:
        await reload(server)
    assert set(load.kinds) == {OK}
    assert load.answers <= right
    assert len(server.workers()) == 2
    assert not set(before) & set(server.workers())
    # What the old ones counted is not forgotten, and each process that is left has series of its own.
    answered = await metric(server, 'astec_requests_total{route="/predict",status="200"}')
    assert answered == load.kinds[OK] + len(bodies)
    for worker in ("2", "3"):
        assert await metric(server, f'process_resident_memory_bytes{{worker="{worker}"}}') > 0


async def test_a_new_model_takes_over_without_a_lost_or_a_mixed_answer(
    serve, demo_artifact: Path, other_artifact: Path, bodies: list[bytes], tmp_path: Path
) -> None:
    link = tmp_path / "current"
    point(link, demo_artifact)
    server = serve(link)
    old = ask_all(server, bodies)
    async with under_load(server.url, bodies) as load:
        point(link, other_artifact)
        await reload(server)
    new = ask_all(server, bodies)
    assert set(load.kinds) == {OK}
    assert not old & new
    assert load.answers <= old | new
    assert load.versions() == {json.loads(next(iter(old))[1])["model"]["version"], "next"}
    # Whoever replaces a worker that dies now has the new model too.
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    assert ask_all(server, bodies) == new


async def test_a_volume_of_kubernetes_that_changes_is_served_after_the_signal_and_refused_if_it_leads_outside(
    serve, demo_artifact: Path, other_artifact: Path, bodies: list[bytes], tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    put_in_volume(volume, demo_artifact, "2026_11_30")
    server = serve(volume, "--allow-links-under", str(volume))
    old = ask_all(server, bodies)
    async with under_load(server.url, bodies) as load:
        put_in_volume(volume, other_artifact, "2026_12_01")
        # The files of the old model are deleted, and a worker that starts now has it all the same.
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: killed not in server.workers() and len(server.workers()) == 2)
        assert ask_all(server, bodies) == old
        assert load.versions() == {json.loads(next(iter(old))[1])["model"]["version"]}
        await reload(server)
        await load.more(100)
        (volume / "..data").unlink()
        point(volume / "..data", demo_artifact)  # outside of the folder that links may lead to
        await reload(server, "refused")
    new = ask_all(server, bodies)
    assert set(load.kinds) <= {OK, CONNECTION}
    assert load.kinds[CONNECTION] <= max(CONNECTIONS, load.most_in_flight)  # of the worker that was killed
    assert not old & new
    assert load.answers <= old | new
    assert load.versions() == {json.loads(next(iter(old))[1])["model"]["version"], "next"}


async def test_a_damaged_new_model_leaves_the_old_one_serving(
    serve, demo_artifact: Path, other_artifact: Path, bodies: list[bytes], tmp_path: Path
) -> None:
    damaged, link = shutil.copytree(other_artifact, tmp_path / "damaged"), tmp_path / "current"
    content = bytearray((damaged / "encoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "encoder.onnx").write_bytes(content)
    point(link, demo_artifact)
    server = serve(link)
    right, before = ask_all(server, bodies), server.workers()
    async with under_load(server.url, bodies) as load:
        point(link, damaged)
        await reload(server, "refused")
        assert server.workers() == before
        # Also for a worker that is replaced while the link leads to what was refused.
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: before[0] not in server.workers() and len(server.workers()) == 2)
        await load.more(100)
    assert load.answers <= right
    assert set(load.kinds) <= {OK, CONNECTION}
    assert load.kinds[CONNECTION] <= max(CONNECTIONS, load.most_in_flight)


async def test_a_killed_worker_loses_what_it_had_in_flight_and_nothing_else(
    serve, demo_artifact: Path, bodies: list[bytes]
) -> None:
    server = serve(demo_artifact)
    right, (victim, survivor) = ask_all(server, bodies), server.workers()
    async with under_load(server.url, bodies) as load:
        os.kill(victim, signal.SIGKILL)
        await load.more(100)
        await until(lambda: victim not in server.workers() and len(server.workers()) == 2)
    assert survivor in server.workers()
    assert load.answers <= right
    # A connection carries one request at a time: more than one each cannot have been in flight.
    assert set(load.kinds) <= {OK, CONNECTION}
    assert load.kinds[CONNECTION] <= max(CONNECTIONS, load.most_in_flight)
    assert await metric(server, "astec_worker_deaths_total") == 1
    # The victim may have died between an answer and its count.
    counted = await metric(server, 'astec_requests_total{route="/predict",status="200"}')
    assert -1 <= counted - load.kinds[OK] - len(bodies) <= load.kinds[CONNECTION]


async def ask_once(server: Served, body: bytes) -> str:
    """Send one request on a connection of its own: "answered", "refused" before it was connected, or "lost"."""
    host, port = server.url.removeprefix("http://").split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return "refused"
    try:
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
    except ConnectionError:
        return "lost"
    finally:
        writer.transport.abort()
    return "answered" if answer.startswith(b"HTTP/1.1 200 ") else "lost"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_stops_answers_whoever_it_let_in(
    serve, demo_artifact: Path, bodies: list[bytes], workers: int
) -> None:
    server = serve(demo_artifact, workers=workers)
    asked: list[asyncio.Task[str]] = []
    for body, _ in zip(cycle(bodies), range(2 * RATE_PER_S), strict=False):
        if len(asked) == RATE_PER_S:
            os.kill(server.pid, signal.SIGTERM)
        asked.append(asyncio.create_task(ask_once(server, body)))
        await asyncio.sleep(1 / RATE_PER_S)
    ended = Counter(await asyncio.gather(*asked))
    assert set(ended) == {"answered", "refused"}
    assert ended["answered"] >= RATE_PER_S / 2
    # Nobody holds a connection, so that there is nothing to wait for.
    await until(lambda: has_ended(server.pid))


def has_ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def get(connection: socket.socket, path: str) -> httpx.Response:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    return answer_on(connection)


def answer_on(connection: socket.socket) -> httpx.Response:
    """Read one response, and to the end of the connection if the response announces that it is closed."""
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = dict(line.decode().strip().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
    body = stream.read(int(headers["content-length"]))
    if headers.get("connection") == "close":
        assert stream.read() == b""
    return httpx.Response(status, headers=headers, content=body)


async def test_a_draining_server_answers_on_open_connections_and_takes_no_new_ones(
    serve, demo_artifact: Path, bodies: list[bytes]
) -> None:
    server = serve(demo_artifact, "--drain-s", "60", "--shutdown-timeout-s", "60", workers=1)
    host, port = server.url.removeprefix("http://").split(":")
    probe, client, idle = (socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(3))
    with probe, client, idle:
        for connection in (probe, client):
            answer = get(connection, "/readyz")
            assert answer.status_code == 200
            assert "connection" not in answer.headers
        os.kill(server.pid, signal.SIGTERM)

        async def closed_to_new_ones() -> bool:
            return await ask_once(server, bodies[0]) == "refused"

        await until(closed_to_new_ones)
        assert (get(probe, "/readyz").status_code, has_ended(server.pid)) == (503, False)
        head = f"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: {len(bodies[0])}\r\n\r\n".encode()
        client.sendall(head + bodies[0])
        answer = answer_on(client)
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
    await until(lambda: has_ended(server.pid))


async def test_a_connection_that_never_speaks_does_not_hold_a_drain_up(serve, demo_artifact: Path) -> None:
    server = serve(demo_artifact, "--drain-s", "1", workers=1)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as idle:
        os.kill(server.pid, signal.SIGTERM)
        assert idle.recv(1) == b""
    await until(lambda: has_ended(server.pid))


async def test_models_that_were_replaced_are_given_back(
    serve, demo_artifact: Path, other_artifact: Path, tmp_path: Path
) -> None:
    def mapped(pid: int) -> Counter[Path]:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return Counter(Path(line.split(maxsplit=5)[5]).parent for line in lines if len(line.split(maxsplit=5)) == 6)

    link = tmp_path / "current"
    point(link, demo_artifact)
    server = serve(link)
    first = mapped(server.pid)[demo_artifact.resolve()]
    assert first > 0
    for artifact, previous in [(other_artifact, demo_artifact), (demo_artifact, other_artifact)] * 2:
        point(link, artifact)
        await reload(server)
        for process in (server.pid, *server.workers()):
            assert mapped(process)[artifact.resolve()] == first
            assert mapped(process)[previous.resolve()] == 0
