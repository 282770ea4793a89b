import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.generator.server_timing import SampledRequests
from astec.loadtest.overload.overload_page import to_markdown
from astec.loadtest.overload.steps import Overload, Step, summarize
from astec.loadtest.report.exposition import WorkersMemory, parse_exposition, workers_memory

ROOT = Path(__file__).parents[3]


def overload(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "astec.loadtest.overload", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def measured(*requests: tuple[str, float], window_s: float = 2.0) -> Measurement:
    kinds, latency_s = zip(*requests, strict=True)
    zeros = np.zeros(len(requests))
    sample = SampledRequests(np.empty(0), np.empty(0), {})
    return Measurement(window_s, zeros, zeros, np.array(latency_s), np.array(kinds), 0, sample, 0.5, interrupted=False)


def step(multiple: float, goodput_per_s: float) -> Step:
    return Step(multiple, 2.0, 100.0, goodput_per_s, 0, 0, 0, 0, 0, (1.0, 2.0), None, 0.5)


def test_goodput_is_what_was_answered_within_the_deadline_and_refusals_are_no_errors():
    requests = [("ok", 0.1), ("ok", 0.2), ("ok", 1.5), ("status_429", 0.001), ("status_504", 1.0), ("timeout", 3.0)]
    requests += [("not_sent", 0.0)] * 2
    found = summarize(measured(*requests), 2.0, 1.0, None)
    assert (found.offered_per_s, found.goodput_per_s) == (4.0, 1.0)
    assert (found.late, found.queue_full, found.expired, found.not_sent, found.errors) == (1, 1, 1, 2, 1)
    assert found.accepted_ms == (200.0, 1500.0)


def test_where_nothing_was_accepted_there_is_no_latency():
    found = summarize(measured(("status_429", 0.1)), 3.0, 1.0, None)
    assert found.accepted_ms is None
    assert "| 3x | 0 | 0 | 1 | 0 | 0 | 0 | 0 | - | - | - | - | 50% |" in to_markdown(
        Overload(10.0, 10.0, None, [found])
    )


@pytest.mark.parametrize(
    ("goodputs", "kept"),
    [({0.5: 50.0, 1.0: 100.0, 3.0: 95.0}, 0.95), ({0.5: 50.0, 1.0: 100.0}, None), ({2.0: 9.0}, None), ({}, None)],
)
def test_what_is_kept_compares_the_highest_multiple_with_saturation(goodputs, kept):
    steps = [step(multiple, goodput) for multiple, goodput in goodputs.items()]
    assert Overload(100.0, 100.0, None, steps).kept_share == kept


def test_the_memory_of_workers_is_the_largest_and_the_sum():
    lines = [
        "# HELP process_resident_memory_bytes Resident memory size in bytes.",
        'process_resident_memory_bytes{worker="0"} 300.0',
        'process_resident_memory_bytes{worker="1"} 200.0',
        'process_proportional_memory_bytes{worker="0"} 70.0',
        'process_proportional_memory_bytes{worker="1"} 80.0',
        'astec_requests_total{route="/",status="200"} 1.0',
    ]
    exposition = parse_exposition("\n".join(lines))
    assert exposition['astec_requests_total{route="/",status="200"}'] == 1.0
    assert workers_memory(exposition) == WorkersMemory(300.0, 150.0)
    assert workers_memory({}) is None


@pytest.mark.e2e
def test_an_artifact_is_served_loaded_and_leaves_a_table_and_a_plot(demo_artifact, tmp_path):
    quick = ("--multiples", "0.5,1", "--seconds", 0.3, "--warmup", 0.1, "--clients", 4)
    done = overload(demo_artifact, *quick, "--output", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "results").glob("*-overload.md")
    assert done.stdout in page.read_text()
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("| ")] == ["offered", "0.5x", "1x"]
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.e2e
def test_wrong_usage_is_refused_by_name(tmp_path):
    for arguments, words in (
        ([tmp_path / "nothing"], "nothing"),
        (["http://127.0.0.1:1", "--multiples", "2,1"], "--multiples '2,1' must be above 0 and rise"),
        (["http://127.0.0.1:1", "--multiples", "many"], "are not numbers"),
        (["http://127.0.0.1:1", "--seconds", "0.1"], "Is the server up?"),
    ):
        done = overload(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
