import asyncio
import itertools
import time

import numpy as np
import pytest

from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.loops import run_load
from astec.loadtest.generator.server_timing import parse_server_timing
from astec.loadtest.report.report import build_report

pytestmark = pytest.mark.slow  # loads last as long as they say
STALL_S = 0.3


def run(url, *, rate=None, clients=None, duration=0.6, warmup=0.0, timeout=5.0, max_in_flight=1000):
    plan = LoadPlan(url, rate, clients, duration, warmup, timeout, max_in_flight)
    measured = asyncio.run(run_load(plan, itertools.repeat(b'{"query": "red shoes"}')))
    return measured, build_report(plan, measured)


def stall_once(answer):
    """Delay all requests that arrive within STALL_S of the 20th request until the end of that time."""
    end_s = None

    async def script(number, payload):
        nonlocal end_s
        if number == 20:
            end_s = time.perf_counter() + STALL_S
        if end_s is not None:
            await asyncio.sleep(max(0.0, end_s - time.perf_counter()))
        return await answer(number, payload)

    return script


async def answer_at_once(number, payload):
    return 200


def count_slow(measured):
    return int(np.count_nonzero(measured.latency_s > STALL_S / 3))


def test_the_open_loop_sends_at_the_rate_asked_for(serve):
    server = serve()
    _, report = run(server.url, rate=200, duration=1.0, warmup=0.2)
    assert report.due == pytest.approx(200, abs=1)
    assert report.answered == report.sent == report.due
    assert len(server.payloads) == pytest.approx(1 + 240, abs=1)  # the probe, and the warm-up's 40 that do not count
    assert report.achieved_share > 0.5


def test_the_open_loop_spreads_over_connections(serve):
    """Requests are answered at once, one after the other: a single connection could carry them all."""
    server = serve()
    run(server.url, rate=200)
    assert server.connections == 32


def test_at_a_low_rate_connections_are_few(serve):
    server = serve()
    run(server.url, rate=4, duration=1.0)
    assert server.connections <= 4


def test_a_stall_shows_in_every_request_that_was_due_meanwhile(serve):
    measured, report = run(serve(stall_once(answer_at_once)).url, rate=200, duration=0.8)
    # 200/s * 0.3 s = 60 requests were due during the stall; two thirds of them waited for over a third of its length.
    assert count_slow(measured) > 20
    assert report.latency_ms["p90"] > STALL_S * 1e3 / 3
    assert report.errors == {}


def test_a_stall_hides_from_a_closed_loop(serve):
    measured, _ = run(serve(stall_once(answer_at_once)).url, clients=1, duration=0.8)
    assert measured.latency_s.max() >= STALL_S * 0.99
    assert count_slow(measured) < 20


def test_waiting_for_a_slot_counts_as_latency(serve):
    server = serve(stall_once(answer_at_once))
    measured, report = run(server.url, rate=200, duration=0.8, max_in_flight=1)
    # The server saw one request at a time, and only one of them was slow: the others waited here.
    assert count_slow(measured) > 20
    assert report.late_sends > 20
    assert report.answered == report.due
    assert any("late" in warning for warning in report.warnings)


def test_what_never_gets_a_slot_is_counted(serve):
    async def hang(number, payload):
        if number:
            await asyncio.sleep(60)
        return 200

    _, report = run(serve(hang).url, rate=100, duration=0.3, timeout=0.2, max_in_flight=2)
    assert report.answered == 0
    assert report.errors["not_sent"] > 0
    assert report.errors["timeout"] > 0
    assert report.errors["not_sent"] + report.sent == report.due == pytest.approx(30, abs=1)
    assert report.error_rate == 1
    assert report.latency_ms["p50"] >= 200  # both kinds count with the time that they had waited


def test_errors_are_counted_by_kind(serve):
    sent = {"status_503": 0, "status_429": 0, "connection": 0, "timeout": 0}

    async def err(number, payload):
        if number and number % 5 == 0:
            sent["status_503"] += 1
            return 503
        if number and number % 5 == 1:
            sent["status_429"] += 1
            return 429
        if number == 12:
            sent["timeout"] += 1
            await asyncio.sleep(60)
        if number and number % 5 == 3:
            sent["connection"] += 1
            return None
        return 200

    _, report = run(serve(err).url, rate=100, duration=0.5, timeout=1.5)
    assert report.errors == sent
    assert report.answered == report.due - sum(sent.values())
    assert report.error_rate == pytest.approx(sum(sent.values()) / report.due, abs=1e-6)


def test_closed_loop_clients_wait_for_their_answers(serve):
    most = active = 0

    async def count(number, payload):
        nonlocal most, active
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        active -= 1
        return 200

    _, report = run(serve(count).url, clients=3, duration=0.4)
    assert most == 3
    assert report.answered == report.due > 3
    assert report.mode == "closed"
    assert report.achieved_share is None


def test_a_closed_loop_survives_a_server_that_drops_connections(serve):
    async def drop(number, payload):
        return 200 if number == 0 else None

    _, report = run(serve(drop).url, clients=2, duration=0.3)
    assert report.errors == {"connection": report.due}
    assert report.due < 100  # it pauses after each, or there would be thousands


def test_an_overloaded_server_passes_the_probe_and_is_measured(serve):
    async def shed(number, payload):
        return 429

    _, report = run(serve(shed).url, clients=1, duration=0.2)
    assert report.errors == {"status_429": report.due}
    assert report.latency_ms["p99"] is None


def test_the_probe_refuses_a_server_that_refuses_the_query(serve):
    async def refuse(number, payload):
        return 422, b"this model serves feature ids"

    with pytest.raises(UnreachableError, match=r"422 .*this model serves feature ids"):
        run(serve(refuse).url, clients=1)


def test_the_probe_does_not_wait_forever(serve):
    async def hang(number, payload):
        await asyncio.sleep(60)

    with pytest.raises(UnreachableError, match="did not answer in time"):
        run(serve(hang).url, clients=1, timeout=0.2)


def test_stage_times_are_the_medians_of_what_the_server_tells(serve):
    _, report = run(serve().url, clients=1, duration=0.2)
    assert report.server_ms == {"queue": 0.25, "score": 1.5}


@pytest.mark.parametrize(
    ("header", "stages_ms"),
    [
        ("queue;dur=0.1, score;dur=2", {"queue": 0.1, "score": 2.0}),
        ('cache;desc="hit";dur=3.5', {"cache": 3.5}),
        ("cache, queue;dur=soon", {}),
        ("", {}),
    ],
)
def test_server_timing_is_read_leniently(header, stages_ms):
    assert parse_server_timing(header) == stages_ms


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": "https://example.org"}, "'https://example.org' is not a URL to load"),
        ({"url": "localhost:8000"}, "not a URL to load"),
        ({"clients": 3}, "not both"),
        ({"rate_per_s": None}, "not both"),
        ({"rate_per_s": 0.0}, "rate_per_s is 0.0"),
        ({"rate_per_s": None, "clients": -1}, "clients is -1"),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"max_in_flight": 0}, "max_in_flight is 0"),
        ({"warmup_s": -1.0}, "warmup_s is -1.0"),
    ],
)
def test_a_plan_refuses_values_out_of_range(changes, problem):
    values = {"url": "http://localhost:1", "rate_per_s": 1.0, "clients": None, "duration_s": 1.0}
    with pytest.raises(ValueError, match=problem):
        LoadPlan(**values | changes)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://host:1", "http://host:1/predict"),
        ("http://host:1/", "http://host:1/predict"),
        ("http://host/api/predict", "http://host/api/predict"),
    ],
)
def test_predict_is_added_unless_there_is_a_path(url, endpoint):
    assert LoadPlan(url, 1.0, None, 1.0).endpoint == endpoint
