import subprocess
import sys
from pathlib import Path

import pytest

from astec.export.artifact.store import open_artifact
from astec.loadtest.generator.connection import CONNECTION, OK, TIMEOUT, Answer
from astec.loadtest.soak.counters import went_down
from astec.loadtest.soak.memory import MemoryTrend
from astec.loadtest.soak.questions import Question, make_questions
from astec.loadtest.soak.tally import Tally
from astec.loadtest.soak.users import note_answer

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
QUESTION = Question(b"{}", b"right")


def soak(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "astec.loadtest.soak", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def rows(output: str) -> dict[str, str]:
    cells = [line.split("│") for line in output.splitlines() if line.startswith("│ ")]
    return {name.strip(): value.strip() for _, name, value, _ in cells}


@pytest.mark.e2e
def test_a_short_soak_with_attacks_and_a_kill_passes(demo_artifact):
    # No process lives long enough to tell a leak from warming up.
    done = soak(demo_artifact, "--seconds", 6, "--kill-every-s", 2, "--settle-s", 1000, "--attacks", 50)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = rows(done.stdout)
    assert int(seen["right answers"]) > 0
    assert int(seen["bad requests, as documented"].split()[0]) > 0
    assert int(seen["workers killed / not replaced"].split(" / ")[0]) > 0
    assert seen["wrong answers"] == seen["lost"] == seen["bad requests, otherwise"] == "0"
    assert done.stdout.endswith("soak: passed\n")


@pytest.mark.e2e
def test_wrong_usage_is_refused_by_name(tmp_path):
    done = soak(tmp_path / "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_right_answer_is_that_of_the_model_alone(demo_artifact):
    artifact = open_artifact(demo_artifact)
    shoes, nothing = make_questions(artifact, ["cheap running shoes", "🎉"])
    assert shoes.body == b'{"query":"cheap running shoes","top_k":5}'
    assert shoes.answer.count(b'"label_id"') == 5
    assert nothing.answer.endswith(b'"predictions":[]}')
    assert artifact.manifest.model.version.encode() in nothing.answer


def test_answers_are_told_apart():
    tally = Tally()
    for answer in (Answer(OK, b"", b"right"), Answer(OK, b"", b"other"), Answer("status_429"), Answer("status_500")):
        note_answer(tally, QUESTION, answer, 0.0)
    assert (tally.right, tally.wrong, tally.refused, tally.lost) == (1, 1, {"status_429": 1}, {"status_500": 1})
    assert tally.sent == 4
    assert tally.failures() == ["wrong answers: 1", "good requests lost (status_500): 1"]


def test_only_what_was_in_flight_at_a_kill_may_end_by_it():
    tally = Tally()
    note_answer(tally, QUESTION, Answer(CONNECTION), 0.0)
    assert (tally.cut, tally.lost) == (0, {CONNECTION: 1})
    tally.note_kill()
    note_answer(tally, QUESTION, Answer(CONNECTION), 0.0)
    note_answer(tally, QUESTION, Answer(TIMEOUT), 0.0)
    assert (tally.cut, tally.lost) == (1, {CONNECTION: 1, TIMEOUT: 1})
    tally.note_gone()
    sent_after_s = float("inf")
    note_answer(tally, QUESTION, Answer(CONNECTION), sent_after_s)
    assert (tally.cut, tally.lost) == (1, {CONNECTION: 2, TIMEOUT: 1})


def test_a_soak_without_a_right_answer_fails():
    assert Tally().failures() == ["no good request was answered"]
    assert Tally(right=1, kills=1).failures() == []
    assert Tally(right=1, kills=1, not_replaced=1, went_down=2).failures() == [
        "killed workers not replaced: 1",
        "counters of /metrics went down: 2",
    ]


def test_the_slope_is_that_within_lives_whatever_lies_between_them():
    trend = MemoryTrend(settle_s=10.0)
    for second in range(100):
        trend.add(1, second, 50 * MIB + second * MIB / 60)
    for second in range(100, 200):
        trend.add(2, second, 500 * MIB + second * MIB / 60)
    assert trend.slope_mib_per_min() == pytest.approx(1.0)


def test_warming_up_is_no_leak():
    trend = MemoryTrend(settle_s=10.0)
    assert trend.slope_mib_per_min() is None
    for second in range(60):
        trend.add(1, second, min(second, 10) * MIB)
    assert trend.slope_mib_per_min() == pytest.approx(0.0, abs=1e-9)


def test_counters_that_went_down_are_named_and_gauges_may():
    before = {'astec_requests_total{status="200"}': 5.0, "astec_queue_length": 9.0, "process_cpu_seconds_total": 3.0}
    assert went_down(before, {'astec_requests_total{status="200"}': 5.0}) == []
    assert went_down(before, {'astec_requests_total{status="200"}': 4.0}) == ['astec_requests_total{status="200"}']
    assert went_down(before, {}) == ['astec_requests_total{status="200"}']
