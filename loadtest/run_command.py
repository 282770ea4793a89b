"""`astec-loadtest run`: puts load on a server, reports it, and compares the figures with budgets."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from astec.export.artifact.text.bags import Query
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.loops import measure_load
from astec.loadtest.generator.queries import QueryMix, demo_pool, encode_request, read_pool
from astec.loadtest.generator.recorder import Measurement
from astec.loadtest.report.budgets import Budgets
from astec.loadtest.report.report import Report, build_report

EXIT_OVER_BUDGET = 1
_DEFAULT_CLIENTS = 8
_BUDGETS = "Budgets"
_ERROR = "Error"


def run(
    url: Annotated[
        str, typer.Argument(help="http://HOST:PORT of the server; /predict is added unless there is a path.")
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            help="Open loop: queries per second, sent on time however long the answers take, as independent users "
            "would. Latency counts from the intended send time, so a stall shows in full. Use it to judge latency."
        ),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            help="Closed loop: clients that each send the next query when the last is answered. Finds the highest "
            "throughput, but a slow server is asked less, so its latency looks better than it is. Without --rate, "
            f"{_DEFAULT_CLIENTS} clients are the default."
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(help="Measured seconds. Longer runs give a steadier p99.9."),
    ] = 10.0,
    warmup: Annotated[
        float, typer.Option(help="Seconds of load before the measurement. With less, the cold start shows.")
    ] = 1.0,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds to wait for an answer. Less ends a hanging run sooner, more counts fewer errors."),
    ] = 5.0,
    max_in_flight: Annotated[
        int,
        typer.Option(
            help="Open loop: most requests (and connections) at once. More puts more load on a stalled server and "
            "needs more sockets; requests beyond the limit are sent late, which their latency includes."
        ),
    ] = 1000,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="File of queries to draw from (one per line, or any format that the trainer reads), most popular "
            "first. Queries of your own log give figures that hold for you. Default: queries of the demo log."
        ),
    ] = None,
    zipf: Annotated[
        float,
        typer.Option(
            help="Exponent of Zipf's law, which the popularity of queries follows. Higher repeats a few queries "
            "(caches help more), 0 makes all equally popular."
        ),
    ] = 1.0,
    odd_share: Annotated[
        float,
        typer.Option(
            help="Share of empty, unknown, very long and non-ASCII queries. More tests edge cases, less the usual load."
        ),
    ] = 0.02,
    top_k: Annotated[int, typer.Option(help="Labels to ask for per query. More: larger and slower answers.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the traffic. The same seed sends the same queries.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a PNG of latency and throughput over time to this file.")
    ] = None,
    max_p50_ms: Annotated[float | None, typer.Option(rich_help_panel=_BUDGETS, help="Exit 1 if p50 is higher.")] = None,
    max_p99_ms: Annotated[float | None, typer.Option(rich_help_panel=_BUDGETS, help="Exit 1 if p99 is higher.")] = None,
    max_p999_ms: Annotated[
        float | None, typer.Option(rich_help_panel=_BUDGETS, help="Exit 1 if p99.9 is higher.")
    ] = None,
    max_error_rate: Annotated[
        float | None,
        typer.Option(rich_help_panel=_BUDGETS, help="Exit 1 if a larger share (0..1) is not answered 200."),
    ] = None,
    min_achieved: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_BUDGETS, help="Exit 1 if a smaller share (0..1) of --rate is answered per second."
        ),
    ] = None,
) -> None:
    """Put a running server under load and report latency percentiles, throughput and errors.

    Exit codes: 0 done, 1 over a budget, 2 wrong usage or server out of reach, 130 interrupted (the report is printed).
    """
    if min_achieved is not None and rate is None:
        fail(_ERROR, "--min-achieved is a share of --rate. Give --rate too.")
    if plot is not None and not plot.parent.is_dir():
        fail(_ERROR, f"The folder {plot.parent} of --plot does not exist. Create it first.")
    if rate is None and clients is None:
        clients = _DEFAULT_CLIENTS
    try:
        plan = LoadPlan(url, rate, clients, duration, warmup, timeout, max_in_flight)
        pool = demo_pool(seed) if queries is None else read_pool(queries)
        mix = QueryMix(pool, seed=seed, zipf_exponent=zipf, odd_share=odd_share)
    except (ValueError, OSError) as error:
        fail(_ERROR, str(error))
    measured = _measure(plan, pool, mix, top_k)
    report = build_report(plan, measured)
    budgets = Budgets(max_p50_ms, max_p99_ms, max_p999_ms, max_error_rate, min_achieved)
    report = replace(report, over_budget=budgets.misses(report))
    _show(report, as_json=as_json)
    if plot is not None:
        _draw(measured, plan, plot)
    if report.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.over_budget:
        raise typer.Exit(EXIT_OVER_BUDGET)


def _measure(plan: LoadPlan, pool: list[Query], mix: QueryMix, top_k: int) -> Measurement:
    # The first body is the probe. It is an ordinary query: if it is refused, all would be.
    bodies = (encode_request(query, top_k) for query in itertools.chain(pool[:1], mix))
    seconds = plan.warmup_s + plan.duration_s
    typer.echo(f"Loading {plan.endpoint} for {seconds:g} s; Ctrl-C ends it sooner and still reports.", err=True)
    try:
        return measure_load(plan, bodies)
    except UnreachableError as error:
        fail(_ERROR, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None  # before anything was measured


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        Console().print(report.to_table())


def _draw(measured: Measurement, plan: LoadPlan, path: Path) -> None:
    try:
        # Imported only here, because matplotlib takes longer to load than everything else.
        from astec.loadtest.report.latency_plot import draw_latency_over_time

        draw_latency_over_time(measured, plan.endpoint, path)
    except (ImportError, OSError) as error:
        fail(_ERROR, f"Cannot write the plot {path}: {error}.")
