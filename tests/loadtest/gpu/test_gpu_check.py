"""`make gpu` without a GPU: a dry run on the CPU, limits and interruptions of its steps, and its page."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from math import inf

import pytest
import torch
import typer
from typer.testing import CliRunner

from astec.loadtest.gpu import __main__ as start
from astec.loadtest.gpu import parity
from astec.loadtest.gpu.accelerator import describe, gpu_id
from astec.loadtest.gpu.command import app
from astec.loadtest.gpu.gpu_page import to_markdown
from astec.loadtest.gpu.plan import PARTS, GpuPlan
from astec.loadtest.gpu.stage_table import stages_markdown
from astec.loadtest.gpu.step import Ending, Outcome, Step, run_step
from astec.loadtest.gpu.usage import Usage, read_gpu, resident_bytes
from astec.trainer.run.folder import HISTORY_FILE

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LONGEST_S = 900
GIB = 1 << 30


def python(code, limit_s=inf):
    return Step("some step", "tests", [sys.executable, "-c", code], limit_s)


def run(code, limit_s=inf, left_s=60.0):
    return run_step(python(code, limit_s), left_s, os.environ, None)


@pytest.fixture
def fake_nvidia_smi(tmp_path, monkeypatch):
    """Put a program on the path that answers as nvidia-smi does, and return a function that sets its answer."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def answer(line, code=0):
        program.write_text(f"#!/bin/sh\necho '{line}'\nexit {code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return answer


def test_a_dry_run_writes_a_page_with_every_part(tmp_path):
    command = [sys.executable, "-m", "astec.loadtest.gpu", "--device", "cpu", "--small", "--seconds", str(LONGEST_S)]
    done = subprocess.run(
        [*command, "--output", tmp_path, "--commit", "abc123"], capture_output=True, text=True, timeout=LONGEST_S
    )
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob("*-gpu.md")
    text = page.read_text()
    assert done.stdout == text
    assert "Not measured" not in text
    for part in ("GPU tests", "Parity with the CPU", "A step of each module", "Training at scale 0.002"):
        assert f"\n## {part}" in text
        assert f"| {part}" in text
    assert "- commit, as given: abc123\n" in text
    assert f"- torch: {torch.__version__}, built for CUDA " in text
    assert "Differences: P@1 +0.00, PSP@1 +0.00; allowed: 2 points each." in text, "both trained on the CPU"
    for module in ("surrogate", "extreme", "reranker"):
        assert f"\n### {module}\n\n| labels of a step |" in text
        assert f"\n| {module} |" in text or module == "reranker", "the paper's system has none"
    assert text.count("Self CPU time total") == 3


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ended = CliRunner().invoke(app, ["--output", str(tmp_path)])
    assert ended.exit_code == 2
    assert "finds no GPU on this machine; --device cpu --small tries the command" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "tests,pears"), "--only: there is no pears; there are tests, parity, profile, bench"),
        (("--scales", "big"), "--scales 'big' must be numbers above 0 and at most 10"),
        (("--scales", ","), "--scales ',' must be numbers"),
    ],
)
def test_wrong_usage_is_refused_by_name(arguments, words):
    ended = CliRunner().invoke(app, ["--device", "cpu", *arguments])
    assert ended.exit_code == 2
    assert words in ended.stderr


def test_missing_modules_are_named_at_once(monkeypatch, capsys):
    monkeypatch.setattr(start, "NEEDED", ("json", "no_such_module", "nor_this_one"))
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "gpu: install these modules first: no_such_module, nor_this_one\n"


def test_a_step_without_time_is_left_out_and_the_page_says_so(monkeypatch, tmp_path):
    plans = [python("import time; print('begun', flush=True); time.sleep(60)"), python("print('never')")]
    monkeypatch.setattr(GpuPlan, "steps", lambda plan, folder: plans)
    ended = CliRunner().invoke(app, ["--device", "cpu", "--seconds", "9", "--output", str(tmp_path)])
    assert ended.exit_code == 0, ended.stderr
    assert "## some step\n\nbegun\n" in ended.stdout
    problems = re.sub(r"\d+ s", "N s", ended.stdout.partition("## Not measured\n\n")[2])
    assert problems == (
        "- some step: killed after N s, when the time of all steps was used up\n- some step: no time was left\n"
    )


def test_a_failure_names_its_reason_and_fails_the_check(monkeypatch, tmp_path):
    plans = [python("print('half'); raise SystemExit('no | memory')"), python("print('whole')")]
    monkeypatch.setattr(GpuPlan, "steps", lambda plan, folder: plans)
    ended = CliRunner().invoke(app, ["--device", "cpu", "--output", str(tmp_path)])
    assert ended.exit_code == 1
    assert "| some step | exit code 1: no \\| memory |" in ended.stdout
    assert "half\n\nThe end of its messages:\n\n```\nno | memory\n```" in ended.stdout
    assert "\nwhole\n" in ended.stdout


def test_an_interruption_leaves_a_page_of_the_steps_so_far(monkeypatch, tmp_path):
    interrupt = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    plans = [python("print('first')"), python(interrupt), python("print('third')")]
    monkeypatch.setattr(GpuPlan, "steps", lambda plan, folder: plans)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    try:
        ended = CliRunner().invoke(app, ["--device", "cpu", "--output", str(tmp_path)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.exit_code == 130
    (page,) = tmp_path.glob("*-gpu.md")
    assert "\nfirst\n" in page.read_text()
    assert "third" not in page.read_text()
    assert page.read_text().endswith("- some step: interrupted by the user\n")


def test_at_its_limit_a_step_and_its_children_are_killed(tmp_path):
    written = tmp_path / "child"
    code = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(written)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    outcome = run(code, limit_s=4.0)
    assert (outcome.ending, outcome.problem) == (Ending.FAILED, "killed at its limit of 4 s")
    assert outcome.usage.host_bytes > 1 << 20
    child = int(written.read_text())
    for _ in range(100):
        if not resident_bytes(child):  # a zombie has no memory
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def test_nvidia_smi_is_read_and_may_be_missing(fake_nvidia_smi):
    fake_nvidia_smi("37, 2048, [N/A]")
    reading = read_gpu("0")
    assert (reading.busy_percent, reading.used_bytes, reading.watts) == (37.0, 2 * GIB, None)
    outcome = run_step(python("import time; time.sleep(2)"), 60.0, os.environ, "0")
    assert (outcome.usage.busy_percent, outcome.usage.gpu_bytes, outcome.usage.watts) == (37.0, 2 * GIB, None)
    fake_nvidia_smi("no devices", code=6)
    assert read_gpu("0") is None
    assert "nvidia-smi does not describe it" in describe("cuda", None)


def test_the_gpu_is_described(fake_nvidia_smi):
    fake_nvidia_smi("NVIDIA H200, 143771, 700.00, 9.0, 570.1")
    first = describe("cuda", None).splitlines()[0]
    assert first == (
        "- GPU: NVIDIA H200; memory MiB: 143771; power limit W: 700.00; compute capability: 9.0; driver: 570.1"
    )


def test_the_gpu_is_the_one_that_torch_takes(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu_id(device) for device in ("cpu", "cuda", "cuda:1")] == [None, "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f")
    assert [gpu_id(device) for device in ("cuda", "cuda:1")] == ["3", "GPU-8f"]


def test_a_benchmark_that_was_cut_off_has_the_seconds_of_its_stages(tmp_path):
    lines = [{"stage": "synthetic data", "elapsed_s": 2.0}, {"stage": "surrogate", "elapsed_s": 5.0}]
    lines.append({"stage": "surrogate", "elapsed_s": 8.0})
    (tmp_path / HISTORY_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = stages_markdown("", tmp_path)
    assert "after 8.0 s" in text
    assert "| synthetic data | 2.0 | 25.0% |\n| surrogate | 6.0 | 75.0% |" in text
    assert "No stage was recorded" in stages_markdown("", tmp_path / "nowhere")


def test_models_that_differ_too_much_fail(monkeypatch, tmp_path, capsys):
    def train(log, folder, device, settings):
        return {
            name: {"P@1": p, "P@5": 1.0, "PSP@1": 20.0, "PSP@5": 1.0} for name, p in (("cpu", 50.0), ("device", 47.5))
        }, {"cpu": 9.0, "device": 3.0}

    monkeypatch.setattr(parity, "train_on_both", train)
    with pytest.raises(typer.Exit):
        parity.main(tmp_path, "cuda", queries=1000)
    said = capsys.readouterr()
    assert "| cpu | 50.00 | 1.00 | 20.00 | 1.00 | 9 |\n| device | 47.50 |" in said.out
    assert said.err == "differs by P@1 -2.50, PSP@1 +0.00, and 2 points are allowed\n"


def test_the_page_has_the_figures_of_every_step():
    usage = Usage(busy_percent=81.4, gpu_bytes=3 * GIB, watts=412.3, host_bytes=GIB / 2)
    outcomes = [
        Outcome(Step("first", "tests", [], 90.0), Ending.DONE, "", 12.4, "1 passed", "noise", usage),
        Outcome(Step("last", "bench", [], inf), Ending.NO_TIME, "no time was left"),
    ]
    text = to_markdown("2026-01-01-0000", "- GPU: some\n", ["settings: all"], outcomes)
    assert text.startswith("# Training on a GPU, 2026-01-01-0000 UTC\n\n- GPU: some\n- settings: all\n\n")
    assert "| first | done | 12 | 90 | 81% | 3.00 | 412 | 0.50 |\n" in text
    assert "| last | no time was left | 0 | the rest |  |  |  |  |\n" in text
    assert "## first\n\n1 passed\n" in text
    assert "noise" not in text
    assert text.endswith("## Not measured\n\n- last: no time was left\n")


def test_steps_are_those_of_the_chosen_parts(tmp_path):
    whole = GpuPlan("cuda", 525.0, (0.02, 1.0)).steps(tmp_path)
    assert [step.part for step in whole] == [*PARTS, "bench"]
    assert sum(step.limit_s for step in whole if step.part != "bench") < 525
    assert "--paper" in whole[-1].command
    (profile,) = GpuPlan("cuda", 525.0, (0.02,), parts=("profile",)).steps(tmp_path)
    assert profile.name == "A step of each module"
    tests = " ".join(whole[0].command)
    for name in ("test_adam", "test_device", "test_row_table", "test_exact_index", "test_device_sampler"):
        assert f"/{name}.py" in tests
