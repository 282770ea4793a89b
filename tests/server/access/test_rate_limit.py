"""Token buckets, on a clock that the tests set."""

import os

import pytest

from astec.server.access.rate_limit import RateLimit


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limit(clock: Clock, rate_qps: float, burst: int, *names: str) -> RateLimit:
    rate_limit = RateLimit(rate_qps, burst, clock)
    rate_limit.know(names)
    return rate_limit


def test_a_burst_passes_and_then_the_rate(clock: Clock) -> None:
    rate_limit = limit(clock, 2.0, 3, "ads")
    assert [rate_limit.take("ads", 1) for _ in range(5)] == pytest.approx([0, 0, 0, 0.5, 0.5])
    clock.now_s += 0.5
    assert [rate_limit.take("ads", 1) for _ in range(2)] == pytest.approx([0, 0.5])
    clock.now_s += 3600
    assert [rate_limit.take("ads", 1) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


@pytest.mark.parametrize("burst", [1, 5, 50])
def test_in_the_long_run_the_rate_is_kept_whatever_the_size_of_requests(clock: Clock, burst: int) -> None:
    rate_limit = limit(clock, 10.0, burst, "ads")
    asked = 0
    for step in range(10_000):
        clock.now_s += 0.01
        queries = 1 + step % 7
        asked += queries if rate_limit.take("ads", queries) == 0 else 0
    assert 950 <= asked <= 1000 + burst + 7  # A step may end before the tokens are there.


def test_a_request_larger_than_the_burst_passes_and_leaves_a_debt(clock: Clock) -> None:
    rate_limit = limit(clock, 10.0, 5, "ads")
    assert rate_limit.take("ads", 105) == 0
    assert rate_limit.take("ads", 1) == pytest.approx(10.1)
    clock.now_s += 10.2
    assert rate_limit.take("ads", 1) == 0


def test_clients_have_buckets_of_their_own_which_a_change_of_names_leaves(clock: Clock) -> None:
    rate_limit = limit(clock, 1.0, 1, "ads", "search")
    assert rate_limit.take("ads", 1) == 0
    assert rate_limit.take("search", 1) == 0
    rate_limit.know(["another", "ads"])
    assert rate_limit.take("ads", 1) > 0
    assert rate_limit.take("another", 1) == 0
    assert rate_limit.take("search", 1) == 0  # The key was withdrawn after the request began.


def test_ten_thousand_clients_have_ten_thousand_buckets(clock: Clock) -> None:
    names = [f"client{number}" for number in range(10_000)]
    rate_limit = limit(clock, 1.0, 1, *names)
    assert all(rate_limit.take(name, 1) == 0 for name in names)
    assert all(rate_limit.take(name, 1) > 0 for name in names)


@pytest.mark.slow
def test_processes_forked_later_take_from_the_same_bucket(clock: Clock) -> None:
    rate_limit = limit(clock, 1.0, 3, "ads")
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0 if rate_limit.take("ads", 1) == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert [rate_limit.take("ads", 1) for _ in range(2)] == pytest.approx([0, 1])
