"""The comparison with serving frameworks: what they are asked, how answers are compared, and the row of one that fails.

The frameworks themselves are installed by the comparison only, and not here.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import astec
from astec.loadtest.bench.over_http import Load
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.command_line import EXIT_BAD_INPUT
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.recorder import Recorder
from astec.loadtest.peers.peer_measurement import PeerResult
from astec.loadtest.report.report import build_report
from astec.loadtest.rivals.__main__ import app
from astec.loadtest.rivals.comparison import LOADS, Contender, read_ranking
from astec.loadtest.rivals.framework_server import framework_served
from astec.loadtest.rivals.frameworks import FRAMEWORKS
from astec.loadtest.rivals.rivals_page import draw, to_markdown
from astec.loadtest.rivals.servers.setup import Ranker, ServerSetup


def load(name, rate, p99_ms):
    plan = LoadPlan("http://host", None, 1, 1.0)
    measured = Recorder(0.0, 1.0).finish(interrupted=False)
    report = build_report(plan, measured)
    latency_ms = {**report.latency_ms, "p50": p99_ms / 2, "p99": p99_ms}
    return Load(name, replace(report, achieved_rate=rate, latency_ms=latency_ms), measured)


def contender(name, rates, note="1.0", same=(10, 10, 10)):
    loads = {connections: [load(name, rate, 4.0) for rate in rates] for connections in LOADS} if rates else {}
    return Contender(name, note, pytest.fail, loads=loads, same=same)


def cells(text, name):
    return [cell.strip() for cell in re.search(rf"^\| {name} \|(.+)\|$", text, re.MULTILINE).group(1).split("|")]


def test_the_median_round_counts_and_ours_is_a_multiple_of_it() -> None:
    servers = [
        contender("astec", [900.0, 1000.0, 5000.0]),
        contender("mosec, batches", [251.0, 100.0, 250.0], same=(8, 9, 10)),
    ]
    text = to_markdown(servers, [], "rivals.png")
    assert cells(text, "astec")[0] == "1000"
    row = cells(text, "mosec, batches")
    assert row[:3] == ["250", "2.00", "4.00"]
    assert row[-3:] == ["4.00 x", "8 of 9, 1 not answered", "1.0"]
    assert "![rivals](rivals.png)" in text
    assert "| 32 connections |" in text
    assert "| 1 connection |" in text


def test_a_framework_without_figures_has_a_row_that_says_why(tmp_path: Path) -> None:
    failed = contender("bentoml", [], "bentoml 1.0; InstallError: a | b", None)
    text = to_markdown([contender("astec", [10.0]), failed], [], None)
    assert cells(text, "bentoml") == ["-"] * 8 + ["bentoml 1.0; InstallError: a / b"]
    draw([contender("astec", [10.0]), failed], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_tools_in_process_have_a_table() -> None:
    peer = PeerResult("pecos-text", "libpecos 1", {"P@1": 50.0, "P@5": 20.0}, text_query_us=524.0)
    text = to_markdown([contender("astec", [10.0])], [peer], None)
    assert cells(text, "pecos-text") == ["50.00", "20.00", "524", "libpecos 1"]


def test_answers_are_compared_as_labels_and_float32_scores() -> None:
    score = np.float32(0.1)
    ours = b'{"predictions":[{"label_id":1,"label":"a","score":0.1}],"model":{}}'
    theirs = b'[{"predictions": [{"label_id": 1, "label": "a", "score": %r}]}]' % float(score)
    assert read_ranking(ours) == read_ranking(theirs) == [("a", score)]
    assert read_ranking(ours) != read_ranking(ours.replace(b'"a"', b'"b"'))
    assert read_ranking(b'{"predictions":[]}') == []


def test_every_version_is_pinned() -> None:
    assert len({framework.name for framework in FRAMEWORKS}) == len(FRAMEWORKS)
    for framework in FRAMEWORKS:
        package = framework.package()
        assert package.needs[0].endswith(f"=={framework.version}")
        assert all("==" in need for need in package.needs), package.needs


def test_all_frameworks_serve_what_astec_load_ranks(demo_artifact: Path) -> None:
    requests = [{"query": query, "top_k": 3} for query in ("running shoes", "", "cheap phone")]
    model = astec.load(demo_artifact)
    answers = Ranker(str(demo_artifact)).rank(requests)
    for request, answer in zip(requests, answers, strict=True):
        ranked = model.predict(str(request["query"]), top_k=3)
        assert [one["label"] for one in answer["predictions"]] == [one.label for one in ranked]
        assert [one["score"] for one in answer["predictions"]] == [one.score for one in ranked]


def test_the_settings_of_a_server_survive_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for setup in (ServerSetup("/a b", 1, 2, batches=True), ServerSetup("x", 80, 1, batches=False)):
        for name, value in setup.environment().items():
            monkeypatch.setenv(name, value)
        assert ServerSetup.read() == setup


@pytest.mark.e2e
def test_a_server_that_ends_says_why(demo_artifact: Path) -> None:
    """There is no such module, as there is no such framework here."""
    python = Path(sys.executable)
    with (
        pytest.raises(ServeError, match=r"no_server: ended: .*No module named .*no_server"),
        framework_served(python, "no_server", demo_artifact, 1, batches=False, probe=b"{}", timeout_s=60.0),
    ):
        pass


@pytest.mark.e2e
def test_a_run_without_any_framework_compares_ours_with_the_echo(
    demo_artifact: Path, demo_data: Path, tmp_path: Path
) -> None:
    """The environments cannot be made, because their folder is a file."""
    (tmp_path / "environments").touch()
    arguments = [str(demo_artifact), str(demo_data), "--only", "granian", "--rounds", "1", "--seconds", "0.3"]
    arguments += ["--compared", "50", "--environments", str(tmp_path / "environments"), "--output", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (page,) = tmp_path.glob("*-rivals.md")
    text = page.read_text()
    assert re.search(r"^- speed: .+ read from memory \d+ ns", text, re.MULTILINE)
    assert float(cells(text, "astec")[0]) > 0
    assert float(cells(text, "echo")[0]) > 0
    assert cells(text, "astec")[-2] == "50 of 50"
    row = cells(text, "granian")
    assert row[0] == "-"
    assert "FileExistsError" in row[-1]
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_wrong_usage_is_refused_by_name(tmp_path: Path) -> None:
    for arguments, words in (
        (("a", "b", "--only", "granian,flask"), "--only: there is no flask; there are mosec, litserve"),
        ((tmp_path / "nothing", tmp_path), "nothing"),
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == EXIT_BAD_INPUT
        assert words in result.output.replace("\n", " ")
