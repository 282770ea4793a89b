from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.generator.server_timing import TimingSample
from astec.loadtest.report.latency_plot import draw_latency_over_time
from astec.loadtest.report.report import build_report

PLAN = LoadPlan("http://host", 100.0, None, 10.0)


def measurement(latency_s, kinds=None, **fields):
    count = len(latency_s)
    values: dict[str, Any] = {
        "window_s": 10.0,
        "due_s": np.linspace(0, 10, count, endpoint=False),
        "lag_s": np.zeros(count),
        "latency_s": np.array(latency_s, np.float64),
        "kinds": np.array(kinds or ["ok"] * count, np.str_),
        "completions": count,
        "sampled": TimingSample().requests(),
        "cpu_share": 0.1,
        "interrupted": False,
    }
    return Measurement(**values | fields)


def test_percentiles_are_latencies_of_real_requests():
    # 1 ms .. 1999 ms: the nearest ranks are the ceilings of 999.5, 1799.1, 1979.01 and 1997.001.
    report = build_report(PLAN, measurement(np.arange(1, 2000) / 1e3))
    assert report.latency_ms == pytest.approx({"p50": 1000, "p90": 1800, "p99": 1980, "p99.9": 1998, "max": 1999})


def test_the_achieved_rate_is_good_answers_within_the_window():
    report = build_report(PLAN, measurement([0.001] * 1000, completions=900))
    assert report.achieved_rate == 90
    assert report.achieved_share == 0.9


def test_fast_refusals_do_not_flatter_and_timeouts_do_not_vanish():
    kinds = ["ok", "ok", "status_503", "connection", "timeout", "not_sent"]
    report = build_report(PLAN, measurement([0.010, 0.020, 0.0001, 0.0002, 5.0, 6.0], kinds))
    assert report.latency_ms["p50"] == 20
    assert report.latency_ms["max"] == 6000
    assert report.errors == {"connection": 1, "not_sent": 1, "status_503": 1, "timeout": 1}
    assert (report.due, report.sent, report.answered) == (6, 5, 2)
    assert report.error_rate == pytest.approx(4 / 6, abs=1e-6)


def test_a_busy_generator_and_late_sends_are_warned_of():
    assert build_report(PLAN, measurement([0.001] * 100)).warnings == []
    busy = build_report(PLAN, measurement([0.001] * 100, cpu_share=0.93))
    assert [w for w in busy.warnings if "93% of a core" in w] == busy.warnings != []
    late = build_report(PLAN, measurement([0.001] * 100, lag_s=np.repeat([0.0, 0.002], 50)))
    assert late.late_sends == 50
    assert [w for w in late.warnings if "50.0% of the requests left more than 1 ms late" in w] == late.warnings != []


def test_nothing_measured_is_reported_as_nothing():
    report = build_report(PLAN, measurement([], window_s=0.0))
    assert (report.due, report.error_rate, report.achieved_rate) == (0, 0, 0)
    assert set(report.latency_ms.values()) == {None}


@pytest.mark.parametrize(
    "measured",
    [
        measurement(np.arange(1, 1001) / 1e3),
        measurement([0.5] * 4, ["status_503"] * 4),
        measurement([], window_s=0.0),
    ],
    ids=["usual", "only errors", "nothing"],
)
def test_the_plot_is_a_png(measured, tmp_path):
    path = tmp_path / "latency"
    draw_latency_over_time(measured, "http://host", path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with path.open("rb") as file:
        pixels = matplotlib.image.imread(file, format="png")
    assert len(np.unique(pixels)) > 2


def test_the_plot_shows_the_slow_second(tmp_path):
    calm = measurement([0.001] * 1000)
    slow = replace(calm, latency_s=np.where(calm.due_s // 1 == 4, 0.5, 0.001))
    for name, measured in (("calm", calm), ("slow", slow), ("again", slow)):
        draw_latency_over_time(measured, "http://host", tmp_path / name)
    assert (tmp_path / "slow").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "slow").read_bytes() != (tmp_path / "calm").read_bytes()
