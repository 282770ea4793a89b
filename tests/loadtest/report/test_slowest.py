import numpy as np
import pytest

from astec.loadtest.generator.server_timing import SampledRequests, TimingSample
from astec.loadtest.report.slowest import LATE, OUTSIDE, WHOLE, latency_parts, parts_table


def sampled(latency_s, lag_s=None, **stages_ms):
    count = len(latency_s)
    lag_s = np.zeros(count) if lag_s is None else np.array(lag_s)
    return SampledRequests(np.array(latency_s), lag_s, {name: np.array(ms) for name, ms in stages_ms.items()})


def test_the_parts_of_the_slowest_add_up_to_their_latency() -> None:
    slow = np.arange(1000) >= 990
    requests = sampled(
        np.where(slow, 0.020, 0.002),
        np.where(slow, 0.003, 0.0),
        queue=np.where(slow, 9.0, 0.5),
        score=np.full(1000, 0.25),
    )
    parts = {part.name: part for part in latency_parts(requests)}
    assert list(parts) == [LATE, "queue", "score", OUTSIDE, WHOLE]
    assert [part.median_ms for part in parts.values()] == pytest.approx([0, 0.5, 0.25, 1.25, 2])
    assert [part.slowest_ms for part in parts.values()] == pytest.approx([3, 9, 0.25, 7.75, 20])
    rows = parts_table(list(parts.values())).splitlines()
    assert rows[3] == "| queue | 0.500 | 9.000 | 8.500 | 47% |"
    assert rows[-1] == f"| {WHOLE} | 2.000 | 20.000 | 18.000 | 100% |"


def test_answers_that_name_no_stage_do_not_count() -> None:
    refused = np.arange(400) % 2 == 1
    requests = sampled(np.where(refused, 5.0, 0.002), queue=np.where(refused, np.nan, 1.0))
    assert latency_parts(requests)[-1].slowest_ms == pytest.approx(2)


@pytest.mark.parametrize(
    "requests",
    [sampled([0.001] * 99, queue=[0.1] * 99), sampled([0.001] * 500), TimingSample().requests()],
    ids=["few", "no stages", "none"],
)
def test_too_few_requests_tell_nothing(requests) -> None:
    assert latency_parts(requests) == []


def test_a_long_run_is_thinned_out_evenly() -> None:
    sample = TimingSample()
    for number in range(100_000):
        sample.add(b"queue;dur=%d" % number if number % 3 else b"", number, 2 * number)
    requests = sample.requests()
    kept = requests.latency_s
    assert 8_000 < len(kept) < 20_000
    assert set(np.diff(kept)) == {kept[1] - kept[0]}
    assert (requests.lag_s == 2 * kept).all()
    unnamed = kept % 3 == 0
    assert np.isnan(requests.stages_ms["queue"][unnamed]).all()
    assert (requests.stages_ms["queue"][~unnamed] == kept[~unnamed]).all()
    assert requests.medians_ms()["queue"] == np.median(kept[~unnamed])
