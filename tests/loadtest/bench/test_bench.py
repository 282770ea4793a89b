import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from astec.loadtest.bench.bulk import Bulk, BulkError, measure_bulk
from astec.loadtest.bench.in_process import InProcess
from astec.loadtest.bench.over_http import knee
from astec.loadtest.bench.results import PECOS, Results
from astec.loadtest.bench.targets import check_targets
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.recorder import Recorder
from astec.loadtest.peers.peer_measurement import PeerResult
from astec.loadtest.report.report import build_report

ROOT = Path(__file__).parents[3]


def bench(*arguments):
    command = [sys.executable, "-m", "astec.loadtest.bench", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores SIGINT for commands in the background, and a child process would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.e2e
def test_a_quick_run_leaves_a_page_with_every_section_and_its_plots(demo_artifact, demo_data, tmp_path):
    process = bench(
        *(demo_artifact, demo_data, "--quick", "--output", tmp_path / "results", "--scale-folder", tmp_path / "scale")
    )
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    (page,) = (tmp_path / "results").glob("*.md")
    text = page.read_text()
    assert stdout.startswith(text)
    for title in (
        "Targets",
        "Accuracy",
        "In process",
        "Over HTTP",
        "At half",
        "Latency against rate",
        "Growth",
        "4 wo",
        "Bulk: 100,000 queries",
    ):
        assert f"## {title}" in text
    for name in re.findall(r"!\[\w+\]\((.+)\)", text):
        assert (page.parent / name).read_bytes().startswith(b"\x89PNG")
    assert len(re.findall(r"\.png\)", text)) == 3
    assert "peers: give the file that the artifact was trained on with --train" in text
    assert "astec with a cache" in text
    assert "run again: the same bytes" in text
    assert text.count("## Not measured") == 1
    assert text.split("## Not measured")[1].count("\n- ") == 1, text


@pytest.mark.e2e
def test_interrupted_it_writes_what_there_is(demo_artifact, demo_data, tmp_path):
    process = bench(demo_artifact, demo_data, "--output", tmp_path, "--skip", "accuracy,exact,peers", "--queries", 50)
    with process:
        for line in process.stderr:
            if "astec: 32 connections" in line:
                process.send_signal(signal.SIGINT)
                break
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "## In process" in stdout
    assert "interruption" in stdout


@pytest.mark.e2e
def test_wrong_usage_is_refused_by_name(tmp_path):
    for arguments, words in (
        (["--skip", "pears"], "--skip: there is no pears; there are accuracy"),
        (["--only", "bulk,pears"], "--only: there is no pears; there are accuracy"),
        ([tmp_path / "nothing"], "nothing"),
    ):
        process = bench(*arguments)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 2
        assert words in stderr
        assert "Traceback" not in stderr


@pytest.mark.e2e
def test_one_part_can_be_measured_alone(demo_artifact, demo_data, tmp_path):
    process = bench(demo_artifact, demo_data, "--quick", "--only", "in-process", "--output", tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert re.findall(r"^## (.+)", stdout, re.MULTILINE) == ["Targets", "In process"]


def test_a_bulk_run_that_fails_or_is_too_short_to_tell_is_no_result(demo_artifact, tmp_path):
    with pytest.raises(BulkError, match="score more queries"):
        measure_bulk(demo_artifact, ["red shoes"], 1, 1, tmp_path)
    (tmp_path / "answers.jsonl.part.journal").mkdir()
    with pytest.raises(BulkError, match=r"answers\.jsonl"):
        measure_bulk(demo_artifact, ["red shoes"], 1, 1, tmp_path)


def test_bulk_scoring_needs_texts(demo_artifact, tmp_path):
    with pytest.raises(ValueError, match="the data has no texts"):
        measure_bulk(demo_artifact, ["", " "], 1, 1, tmp_path)


def report(rate, p99_ms, share=1.0):
    plan = LoadPlan("http://host", rate, None, 1.0)
    recorded = build_report(plan, Recorder(0.0, 1.0).finish(interrupted=False))
    latency_ms = dict.fromkeys(recorded.latency_ms, p99_ms)
    fields = {name: getattr(recorded, name) for name in recorded.__slots__}
    return type(recorded)(**fields | {"latency_ms": latency_ms, "achieved_share": share})


@pytest.mark.parametrize(
    ("curve", "rate"),
    [
        ([(100, 1.0), (200, 2.0), (300, 9.0), (400, 2.0)], 200),
        ([(100, 1.0), (200, 1.0, 0.9), (300, 1.0)], 100),
        ([(100, 1.0, 0.5)], None),
        ([(100, None)], None),
        ([], None),
    ],
)
def test_the_knee_is_the_last_rate_before_it_hurts(curve, rate):
    at = knee([report(*point) for point in curve])
    assert (at and at.asked_rate) == rate


def test_targets_hold_fail_or_are_unknown():
    fast = InProcess([100.0, 0, 0], {}, {})
    targets = check_targets(Results(in_process=fast, peers=[PeerResult(PECOS, "1", text_query_us=150.0)]))
    assert [target.holds for target in targets[:3]] == [True, False, None]
    assert targets[0].seen == "100 us"
    assert targets[1].seen == "0.667 (100 over 150 us)"
    assert {target.holds for target in targets[3:]} == {None}


def bulk(scoring_s=1.0, memory_bytes=(), *, is_same=True):
    return Bulk(10_000, 2, 100.0, 3.0, scoring_s, list(memory_bytes), 5_000, is_same)


@pytest.mark.parametrize(
    ("measured", "seen", "holds"),
    [
        (bulk(0.5, [10, 10, 12, 11, 10, 11]), ["100%", "1.1", "the same"], [True, True, True]),
        (bulk(1.0, [10, 10, 11, 20, 11, 20], is_same=False), ["50%", "2", "another"], [False, False, False]),
    ],
    ids=["as-asked", "not-as-asked"],
)
def test_the_targets_of_bulk_scoring(measured, seen, holds):
    targets = check_targets(Results(bulk=measured))[-3:]
    assert [target.seen for target in targets] == seen
    assert [target.holds for target in targets] == holds
