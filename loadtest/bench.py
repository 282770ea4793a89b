"""`make bench`: one run, one machine, one page: the model in process, then over HTTP, with P@k beside every speed."""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from export.artifact.featurizer import Query
from export.artifact.store import Artifact, ArtifactError, open_artifact
from export.readers import DataError, open_dataset
from loadtest.loops import run_load
from loadtest.plan import LoadPlan
from loadtest.plot import draw_latency_over_time
from loadtest.queries import QueryMix, encode_request
from loadtest.report import Report, build_report
from server.evaluate import measure
from server.predictor import Predictor

RESULTS = Path(__file__).parent / "results"
EXIT_BAD_INPUT = 2
_TOP_K = 5
_SINGLE_QUERIES = 5_000
_BATCH_SIZES = (1, 8, 32, 128)
_CLIENTS = 32
_STAGES = ("featurize", "encode", "shortlist", "score")

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


@app.command()
def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact to measure.")] = Path("artifacts/demo"),
    test_data: Annotated[Path, typer.Argument(help="Texts and labels to ask and to score.")] = Path("runs/demo-log"),
    workers: Annotated[int, typer.Option(min=1, help="Server processes.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of each HTTP measurement; longer settles the tail.")] = 10.0,
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its plot.")] = RESULTS,
) -> None:
    """Measure ARTIFACT in process and over HTTP and write a dated page with hardware, commit and settings."""
    try:
        opened, dataset = open_artifact(artifact), open_dataset(test_data, "test")
        accuracy = measure(opened, dataset, (0.55, 1.5), skip_bad_lines=False)
    except (ArtifactError, DataError) as error:
        typer.echo(f"bench: {error}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    queries = [row.query for row in dataset.rows()]
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    output.mkdir(parents=True, exist_ok=True)
    sections = [_heading(opened, test_data, stamp), _accuracy(accuracy), _in_process(opened, queries)]
    with _served(artifact, workers) as url:
        saturated = _load(LoadPlan(url, None, _CLIENTS, seconds), queries, None)
        rate = saturated.achieved_rate / 2
        half = _load(LoadPlan(url, rate, None, seconds), queries, output / f"{stamp}-half-rate.png")
        alone = _load(LoadPlan(url, None, 1, seconds / 2), queries, None)
    sections.append(_over_http(workers, saturated, half, alone, f"{stamp}-half-rate.png"))
    page = output / f"{stamp}.md"
    page.write_text("\n\n".join(sections) + "\n")
    typer.echo(page.read_text())
    console.print(f"wrote {page}", soft_wrap=True)


def _heading(artifact: Artifact, test_data: Path, stamp: str) -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    sizes = artifact.manifest.dimensions
    return (
        f"# Benchmark of {stamp} UTC\n\n"
        f"- hardware: {_cpu_model()}, {len(os.sched_getaffinity(0))} usable CPUs, shared with the load generator\n"
        f"- commit: {commit.stdout.strip() or 'unknown'}; Python {platform.python_version()}\n"
        f"- model: {artifact.manifest.model.name} {artifact.manifest.model.version}: {sizes.num_labels:,} labels, "
        f"{sizes.num_points:,} training points, {sizes.num_features:,} tokens, D = {sizes.dim}\n"
        f"- queries: the texts of {test_data.name}, top {_TOP_K}; no cache"
    )


def _accuracy(figures: dict[str, float | int]) -> str:
    names = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5", "shortlist recall", "shortlist labels")
    rows = [[name, f"{figures[name]:.2f}"] for name in names]
    return "## Accuracy of what is timed\n\n" + _table(["figure", "value"], rows)


def _in_process(artifact: Artifact, queries: list[Query]) -> str:
    """Single-query latency with its stages, and the cost of a query in batches, on one thread."""
    predictor = Predictor(artifact)
    predictor.predict(queries[:_SINGLE_QUERIES], _TOP_K)
    times, stages = [], []
    for query in itertools.islice(itertools.cycle(queries), _SINGLE_QUERIES):
        begun = perf_counter()
        _, stage = predictor.predict([query], _TOP_K)
        times.append(perf_counter() - begun)
        stages.append((stage.featurize_s, stage.encode_s, stage.shortlist_s, stage.score_s))
    rows = [["one query", *(f"{1e6 * value:.0f}" for value in np.percentile(times, (50, 90, 99)))]]
    rows += [
        [f"of it {name}", *(f"{1e6 * value:.0f}" for value in np.percentile(column, (50, 90, 99)))]
        for name, column in zip(_STAGES, np.array(stages).T, strict=True)
    ]
    single = _table(["text in, top 5 out, one thread", "p50 us", "p90 us", "p99 us"], rows)
    batches = [[str(size), f"{1e6 * _batch_seconds(predictor, queries, size):.0f}"] for size in _BATCH_SIZES]
    return f"## In process\n\n{single}\n\n" + _table(["batch size", "us per query"], batches)


def _batch_seconds(predictor: Predictor, queries: list[Query], size: int) -> float:
    sample = queries[: min(len(queries), _SINGLE_QUERIES)]
    begun = perf_counter()
    for begin in range(0, len(sample), size):
        predictor.predict(sample[begin : begin + size], _TOP_K)
    return (perf_counter() - begun) / len(sample)


def _over_http(workers: int, saturated: Report, half: Report, alone: Report, plot: str) -> str:
    rows = [
        [
            name,
            f"{report.achieved_rate:.0f}",
            *(_milliseconds(report.latency_ms[percentile]) for percentile in ("p50", "p99", "p99.9")),
            str(sum(report.errors.values())),
            f"{report.generator_cpu:.2f}",
        ]
        for name, report in (
            (f"closed loop, {_CLIENTS} connections", saturated),
            (f"open loop at half of that, {half.asked_rate:.0f}/s asked", half),
            ("closed loop, 1 connection", alone),
        )
    ]
    head = ["load", "answers/s", "p50 ms", "p99 ms", "p99.9 ms", "errors", "generator CPU"]
    return f"## Over HTTP, {workers} worker(s)\n\n{_table(head, rows)}\n\n![latency over time]({plot})"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _load(plan: LoadPlan, queries: list[Query], plot: Path | None) -> Report:
    mix = QueryMix(queries, seed=0, zipf_exponent=0.0, odd_share=0.0)
    bodies = (encode_request(query, _TOP_K) for query in mix)
    console.print(f"loading for {plan.duration_s:g} s: {plan.clients or ''} {plan.rate_per_s or ''}")
    measured = asyncio.run(run_load(plan, bodies))
    if plot is not None:
        draw_latency_over_time(measured, "open loop at half of saturation", plot)
    return build_report(plan, measured)


@contextmanager
def _served(artifact: Path, workers: int) -> Iterator[str]:
    """The address of the real server, which is stopped at the end."""
    command = [sys.executable, "-m", "server", str(artifact), "--port", "0", "--workers", str(workers)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 - asked for above
        url = next((line[line.index("http://") :].split()[0] for line in server.stdout if "http://" in line), None)
        if url is None:
            raise RuntimeError("the server ended before it was ready")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
