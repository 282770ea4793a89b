"""Dashboard and alerts ask for what there is: of a real Prometheus that scrapes a loaded server."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from astec.loadtest.bench.serving import ours_command, served
from astec.server.http.listeners import open_listeners
from astec.server.metrics.board import MetricsBoard
from astec.server.metrics.exposition import render_exposition
from tests.server.changed_artifact import change_artifact

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "astec.json").read_text())
ALERTS = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())["groups"][0]["rules"]
PANEL_QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
MARKS = [mark["expr"] for mark in DASHBOARD["annotations"]["list"]]
PATIENCE_S = 60.0

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are not in PATH; `make prometheus` gets them on Debian",
)


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:astec|process)_\w+|\bup\b", expression))


def families() -> set[str]:
    text = render_exposition(MetricsBoard(1, ("current", "next")).metrics(0)).decode()
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


def test_every_expression_asks_for_metrics_that_the_server_has() -> None:
    # Series of a family without a sample yet are not in the text, its TYPE is.
    known = {name.removesuffix("_total") for name in families()} | {"up"}
    known |= {"process_cpu_seconds", "process_resident_memory_bytes"}  # of a process, and here there is none
    for expression in [*(query for _, query in PANEL_QUERIES), *MARKS, *(alert["expr"] for alert in ALERTS)]:
        asked = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in metric_names(expression)}
        assert asked, expression
        assert asked <= known, expression


def test_every_panel_and_every_alert_says_what_to_make_of_it() -> None:
    assert all(panel["description"] for panel in DASHBOARD["panels"])
    for alert in ALERTS:
        assert alert["annotations"]["summary"], alert["alert"]
        assert alert["annotations"]["runbook"], alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")


class Watched(NamedTuple):
    """A loaded server, and the address of the Prometheus that scrapes it."""

    url: str
    prometheus_url: str

    def query(self, expression: str) -> list[dict]:
        answer = httpx.get(f"{self.prometheus_url}/api/v1/query", params={"query": expression}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]


@pytest.fixture(scope="module")
def watched(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with more load than it has room for, a cache and a shadow, so that every series has a value."""
    folder = tmp_path_factory.mktemp("prometheus")
    candidate = change_artifact(demo_artifact, folder / "next", "next", bytes.upper)
    flags = ("--queue-capacity", "2", "--cache-entries", "100", "--inference-threads", "1")
    models = (Path(f"current={demo_artifact}"), f"next={candidate}", "--shadow", "next")
    with served(ours_command(models[0], 2, *models[1:], *flags)) as server:
        config = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
        config["global"]["scrape_interval"] = "1s"
        config["rule_files"] = [str(ROOT / "docker" / "alerts.yml")]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [server.url.removeprefix("http://")]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (probe,) = open_listeners("127.0.0.1", 0, 1)
        with probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        load = [
            sys.executable,
            "-m",
            "astec.loadtest",
            server.url,
            "--clients",
            "64",
            "--duration",
            "600",
            "--timeout",
            "30",
        ]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes = [
            subprocess.Popen([*command, f"--web.listen-address={address}"], **quiet),
            subprocess.Popen(load, cwd=ROOT, **quiet),
        ]
        stop = threading.Event()
        unknown = threading.Thread(target=ask_for_the_unknown, args=(server.url, stop))
        unknown.start()
        try:
            watched = Watched(server.url, f"http://{address}")
            await_scrapes(watched)
            yield watched
        finally:
            stop.set()
            unknown.join()
            for process in processes:
                process.terminate()
                process.wait(PATIENCE_S)


def ask_for_the_unknown(url: str, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        httpx.get(f"{url}/nowhere", timeout=PATIENCE_S)


def await_scrapes(watched: Watched) -> None:
    """Return when there are some scrapes of a server that answers and refuses."""
    give_up_s = (
        time.monotonic() + 3 * PATIENCE_S
    )  # server, load and Prometheus may share two slow CPUs with other tests
    expression = 'count_over_time(astec_requests_total{route="/predict",status="429"}[60s]) >= 6'
    while True:
        # Prometheus answers 503 while it reads its storage.
        with suppress(httpx.TransportError):
            ready = httpx.get(f"{watched.prometheus_url}/-/ready", timeout=PATIENCE_S)
            if ready.status_code == 200 and watched.query(expression):
                return
        assert time.monotonic() < give_up_s, "Prometheus saw no refusals"
        time.sleep(0.2)


@needs_prometheus
def test_promtool_accepts_rules_configuration_and_metrics(watched: Watched, tmp_path: Path) -> None:
    config = (ROOT / "docker" / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus", str(ROOT / "docker")))
    metrics = httpx.get(f"{watched.url}/metrics", timeout=PATIENCE_S).text
    checks: list[tuple[list[str | Path], str | None]] = [
        (["rules", ROOT / "docker" / "alerts.yml"], None),
        (["config", tmp_path / "prometheus.yml"], None),
        (["metrics"], metrics),
    ]
    for arguments, given in checks:
        done = subprocess.run(["promtool", "check", *map(str, arguments)], input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr


@needs_prometheus
@pytest.mark.parametrize(("title", "expression"), PANEL_QUERIES, ids=[f"{i}" for i in range(len(PANEL_QUERIES))])
def test_every_query_of_the_dashboard_has_data_under_load(watched: Watched, title: str, expression: str) -> None:
    found = watched.query(expression.replace("$__rate_interval", "30s"))
    assert found, title
    assert not [series for series in found if series["value"][1] == "NaN"], title


@needs_prometheus
@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_every_alert_compares_something_that_there_is(watched: Watched, alert: dict) -> None:
    compared, _, _ = re.fullmatch(r"(.+) (==|>) ([\d.]+)", alert["expr"]).groups()
    # Nothing here ends in 5xx, so 4xx stand in.
    assert watched.query(re.sub(r"\[\d+m\]", "[30s]", compared).replace("5..", "4.."))


@needs_prometheus
def test_overload_is_what_the_alert_of_overload_sees(watched: Watched) -> None:
    (sheds,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "AstecSheds"]
    assert watched.query(sheds.replace("[5m]", "[30s]"))


@needs_prometheus
def test_marks_on_the_dashboard_are_queries_too(watched: Watched) -> None:
    for expression in MARKS:
        watched.query(expression)
