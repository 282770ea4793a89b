import json
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.loadtest.__main__ import app
from astec.loadtest.report.report import Report

pytestmark = pytest.mark.slow  # loads last as long as they say

QUICK = ["--duration", "0.3", "--warmup", "0", "--timeout", "2"]


def loadtest(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def command(serve, queries_file):
    """Run the command on a server that answers at once."""
    server = serve()
    return lambda *arguments: loadtest(server.url, "--queries", queries_file, *QUICK, *arguments)


def test_json_is_one_object_and_nothing_else(command):
    result = command("--rate", 50, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert list(report) == [field.name for field in fields(Report)]
    assert list(report["latency_ms"]) == ["p50", "p90", "p99", "p99.9", "max"]
    assert report["mode"] == "open"
    assert report["asked_rate"] == 50
    assert report["answered"] == report["due"] > 0
    assert report["errors"] == {}
    assert report["server_ms"] == {"queue": 0.25, "score": 1.5}
    assert report["generator_cpu"] > 0
    assert report["interrupted"] is False


def test_the_table_names_what_it_shows(command):
    result = command()
    assert result.exit_code == 0, result.output
    assert "8 clients" in result.stdout  # the default load
    for name in ("p50", "p99.9", "achieved rate", "sent / answered", "errors", "server: queue", "generator's CPU"):
        assert name in result.stdout


def test_the_server_gets_the_queries_of_the_file_and_odd_ones(serve, queries_file):
    server = serve()
    loadtest(server.url, "--queries", queries_file, *QUICK, "--clients", 1, "--odd-share", 0.5, "--top-k", 7)
    queries = [payload["query"] for payload in server.payloads]
    pool = queries_file.read_text(encoding="utf-8").splitlines()
    assert queries[0] == pool[0]  # the probe
    assert set(pool) <= set(queries)
    assert "" in queries
    assert {payload["top_k"] for payload in server.payloads} == {7}


@pytest.mark.parametrize(
    "budget",
    [
        ["--max-p50-ms", "0.0001"],
        ["--max-p99-ms", "0.0001"],
        ["--max-p999-ms", "0.0001"],
        ["--min-achieved", "2"],
    ],
    ids=lambda budget: budget[0],
)
def test_over_a_budget_the_command_fails_and_names_it(command, budget):
    result = command("--rate", 50, "--json", *budget)
    assert result.exit_code == 1
    (miss,) = json.loads(result.stdout)["over_budget"]
    assert " ".join([budget[0], "is", budget[1]]) in miss


def test_within_its_budgets_the_command_succeeds(command):
    generous = ["--max-p50-ms", 9e4, "--max-p99-ms", 9e4, "--max-p999-ms", 9e4, "--max-error-rate", 0]
    result = command("--rate", 50, "--json", *generous, "--min-achieved", 0.01)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["over_budget"] == []


def test_errors_have_a_budget_too_and_no_answer_meets_no_latency_budget(serve, queries_file):
    async def fail(number, payload):
        return 500

    result = loadtest(serve(fail).url, "--queries", queries_file, *QUICK, "--max-error-rate", 0.5, "--max-p99-ms", 9e4)
    assert result.exit_code == 1
    assert "The error rate is 1; --max-error-rate is 0.5." in result.stdout
    assert "p99 is unknown" in result.stdout
    assert "status_500" in result.stdout


def test_the_plot_is_written(command, tmp_path):
    assert command("--plot", tmp_path / "latency.png").exit_code == 0
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "5", "--clients", "5"], "not both"),
        (["--rate", "0"], "rate_per_s is 0.0; it must be above 0."),
        (["--duration", "0"], "duration_s is 0.0"),
        (["--min-achieved", "0.9"], "--min-achieved is a share of --rate"),
        (["--odd-share", "2"], "odd_share is 2.0"),
        (["--plot", "no/such/folder/latency.png"], "no/such/folder of --plot does not exist"),
        (["--plot", "."], "is a directory"),
        (["--queries", "no-such-file.txt"], "no-such-file.txt"),
    ],
)
def test_wrong_usage_exits_2_with_a_message(command, arguments, message):
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_queries_that_are_all_empty_exit_2(serve, tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\n")
    result = loadtest(serve().url, "--queries", tmp_path / "blank.txt", *QUICK)
    assert result.exit_code == 2
    assert "blank.txt" in result.stderr


def test_https_exits_2(queries_file):
    result = loadtest("https://127.0.0.1", "--queries", queries_file)
    assert result.exit_code == 2
    assert "Give http://HOST:PORT" in result.stderr


def test_a_server_out_of_reach_exits_2(queries_file, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = loadtest(url, "--queries", queries_file, "--json")
    assert result.exit_code == 2
    assert f"Cannot reach {url}/predict" in result.stderr
    assert result.stdout == ""


def test_a_url_without_the_service_exits_2(serve, queries_file):
    result = loadtest(serve().url + "/elsewhere", "--queries", queries_file)
    assert result.exit_code == 2
    assert "/elsewhere answered 404" in result.stderr


def test_a_plot_that_cannot_be_written_exits_2_after_the_report(command):
    result = command("--json", "--plot", "/dev/full")
    assert result.exit_code == 2
    assert "Cannot write the plot" in result.stderr
    assert json.loads(result.stdout)["answered"] > 0


@pytest.mark.e2e
@pytest.mark.parametrize("load", [["--rate", "100"], ["--clients", "2"]], ids=["open", "closed"])
def test_interrupted_it_prints_what_was_measured(serve, queries_file, load):
    server = serve()
    arguments = [server.url, "--queries", queries_file, "--duration", "60", "--warmup", "0", "--json", *load]
    process = subprocess.Popen(
        [sys.executable, "-m", "astec.loadtest", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores SIGINT for commands in the background, and a child process would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert server.arrived.wait(30)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    report = json.loads(stdout)
    assert report["interrupted"] is True
    assert report["duration_s"] < 60
    assert report["errors"] == {}
