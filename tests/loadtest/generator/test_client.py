import asyncio
import itertools
import threading
from contextlib import suppress

import pytest

from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.loops import run_load
from astec.loadtest.generator.pacer import Pacer
from astec.loadtest.generator.server_timing import TimingSample
from astec.loadtest.report.report import build_report

BODY = b'{"query": "red shoes"}'


def run(url, **load):
    plan = LoadPlan(url, load.get("rate"), load.get("clients"), load.get("duration", 0.2), 0.0, 2.0)
    return build_report(plan, asyncio.run(run_load(plan, itertools.repeat(BODY))))


@pytest.fixture
def raw_server():
    """Start a server that answers each read on a connection with the next of the given bytes, then closes it."""
    threads = []

    def start(*answers):
        ready, done = threading.Event(), threading.Event()
        opened: list[asyncio.StreamWriter] = []
        urls: list[str] = []

        async def connected(reader, writer):
            opened.append(writer)
            with suppress(ConnectionError):  # the client closes the connection at the end of its run
                for answer in answers:
                    if not await reader.read(65536):
                        break
                    for piece in answer:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0.002)
            writer.close()

        async def serve():
            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            ready.set()
            await asyncio.to_thread(done.wait)
            server.close()
            for writer in opened:
                writer.transport.abort()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)

        threads.append((threading.Thread(target=lambda: asyncio.run(serve())), done))
        threads[-1][0].start()
        ready.wait()
        return urls[0], opened

    yield start
    for thread, done in threads:
        done.set()
        thread.join()


def test_connections_are_kept_and_no_more_than_clients(serve):
    server = serve()
    report = run(server.url, clients=3)
    assert report.answered > 3
    assert server.connections == 3


def test_an_answer_in_pieces_is_one_answer(raw_server):
    pieces = [b"HTTP/1.1 200 O", b"K\r\ncontent-le", b"ngth: 5\r\n\r", b"\nab", b"cde"]
    url, _ = raw_server(*[pieces] * 1000)
    report = run(url, clients=1)
    assert report.errors == {}
    assert report.answered == report.due > 1


def test_a_chunked_answer_is_read(raw_server):
    answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"]
    url, _ = raw_server(*[answer] * 1000)
    report = run(url, clients=1)
    assert report.errors == {}
    assert report.answered > 1


def test_a_server_that_closes_after_each_answer_is_no_error(raw_server):
    url, opened = raw_server([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"])
    report = run(url, clients=1)
    assert report.errors == {}
    assert len(opened) == report.answered + 1  # the probe


def test_what_is_no_http_is_a_connection_error(raw_server):
    url, _ = raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], [b"SSH-2.0-OpenSSH\r\n"])
    report = run(url, clients=1)
    assert report.errors["connection"] >= 1
    assert report.errors.keys() == {"connection"} or report.answered


def test_the_pacer_tells_every_due_time_in_order_and_the_end():
    dues = []

    async def pace():
        ended = asyncio.get_running_loop().create_future()

        def on_due(due_s):
            dues.append(due_s)
            if due_s is None:
                ended.set_result(None)

        start_s = asyncio.get_running_loop().time()
        with Pacer(start_s + 0.1, 1000.0, on_due):
            await ended
        return start_s

    start_s = asyncio.run(pace())
    assert dues[-1] is None
    times = dues[:-1]
    assert len(times) == pytest.approx(100, abs=5)
    assert start_s <= times[0] < times[-1] < start_s + 0.1
    assert [after - before for before, after in itertools.pairwise(times)] == pytest.approx([0.001] * (len(times) - 1))


def test_a_long_run_keeps_an_even_sample_of_the_stage_times():
    sample = TimingSample()
    for number in range(100_000):
        sample.add(b"score;dur=%d" % number, number / 1_000, 0.5)
    requests = sample.requests()
    times = requests.stages_ms["score"]
    assert requests.latency_s.tolist() == (times / 1_000).tolist(), "each with its own stages"
    assert 1_000 < len(times) < 20_000
    assert times.min() == 0
    assert times.max() > 99_000
    assert len({after - before for before, after in itertools.pairwise(times.tolist())}) == 1
