"""`make bench`: the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.benchmark import PARTS, Benchmark, BenchmarkPlan
from astec.loadtest.bench.results import HALF_OPEN, Results
from astec.loadtest.bench.results_page import Setting, results_markdown
from astec.loadtest.bench.results_plots import draw_growth, draw_latency_against_rate
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail, split_names
from astec.loadtest.report.dated_page import RESULTS, DatedPage
from astec.loadtest.report.latency_plot import draw_latency_over_time

_COMMAND = "bench"

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact to measure.")] = Path("artifacts/demo"),
    test_data: Annotated[Path, typer.Argument(help="Test texts to ask, with their labels.")] = Path("runs/demo-log"),
    train: Annotated[
        Path | None, typer.Option(help="Data that ARTIFACT was trained on; without it no peers are measured.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Worker processes of each server, and processes that score a file.")
    ] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of closed loops. More: less noise.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of a closed loop. Longer: steadier tail latencies.")
    ] = 10.0,
    half_seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of the open loop at half of the saturation rate.")
    ] = 60.0,
    queries: Annotated[int, typer.Option(min=1, help="Queries to ask one at a time in process.")] = 5_000,
    sizes: Annotated[
        str, typer.Option(help="Numbers of labels of the synthetic artifacts, rising; each has as many points.")
    ] = "10000,100000,1000000",
    dim: Annotated[int, typer.Option(min=2, help="Dimensions of the synthetic artifacts.")] = 300,
    scale_folder: Annotated[
        Path, typer.Option(help="Folder for the synthetic artifacts, which are kept for later runs.")
    ] = Path("runs/scale"),
    sharing_workers: Annotated[int, typer.Option(min=2, help="Worker processes whose memory is measured.")] = 4,
    bulk_queries: Annotated[int, typer.Option(min=1, help="Lines of the file that astec-predict scores.")] = 1_000_000,
    peers: Annotated[
        str, typer.Option(help="Public tools to compare with, separated by commas.")
    ] = "pecos-text,omikuji-parabel",
    environments: Annotated[Path, typer.Option(help="Folder for installing these tools; kept for later runs.")] = Path(
        "~/.cache/astec/peers"
    ),
    only: Annotated[str, typer.Option(help="The only parts to measure. Default: all.", show_default=False)] = "",
    skip: Annotated[str, typer.Option(help=f"Parts to leave out, of {', '.join(PARTS)}.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure for seconds instead of an hour, to check that everything works.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its plots.")] = RESULTS,
) -> None:
    """Measure ARTIFACT in process and over HTTP, compare it with an echo and public tools, and write a dated page.

    Exit codes: 0 done, even if a part could not be measured (the page says so); 2 wrong usage; 130 interrupted (the
    page has the results so far).
    """
    plan = BenchmarkPlan(
        artifact=artifact,
        test_data=test_data,
        train=train,
        workers=workers,
        rounds=rounds,
        seconds=seconds,
        half_seconds=half_seconds,
        queries=queries,
        sizes=[int(size) for size in split_names(sizes)],
        dim=dim,
        scale_folder=scale_folder,
        sharing_workers=sharing_workers,
        bulk_queries=bulk_queries,
        peers=split_names(peers),
        environments=environments.expanduser(),
        parts=_chosen_parts(only, skip),
    )
    _measure(plan.quick() if quick else plan, output)


def _chosen_parts(only: str, skip: str) -> list[str]:
    for option, names in (("--only", split_names(only)), ("--skip", split_names(skip))):
        if unknown := set(names) - set(PARTS):
            fail(_COMMAND, f"{option}: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return [part for part in split_names(only) or PARTS if part not in split_names(skip)]


def _measure(plan: BenchmarkPlan, output: Path) -> None:
    try:
        manifest = read_manifest(plan.artifact)
        benchmark = Benchmark(plan)
        interrupted = benchmark.run()
    except (ArtifactError, DataError) as error:
        fail(_COMMAND, str(error))
    page = DatedPage.create(output)
    plots = _draw_plots(page, benchmark.results)
    text = results_markdown(
        Setting(page.stamp, manifest, plan.test_data.name, _options(plan)), benchmark.results, plots
    )
    page.write(text)
    typer.echo(text)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _draw_plots(page: DatedPage, results: Results) -> dict[str, str]:
    """Draw what was measured beside the page; return the file names by section."""
    plots: dict[str, Path] = {}
    if HALF_OPEN in results.half:
        plots["half"] = page.picture("half-rate")
        draw_latency_over_time(results.half[HALF_OPEN].measured, f"open loop at half of {HALF_OPEN}", plots["half"])
    if results.curve:
        plots["curve"] = page.picture("latency-rate")
        draw_latency_against_rate(results.curve, plots["curve"])
    if results.growth:
        plots["growth"] = page.picture("growth")
        draw_growth(results.growth, plots["growth"])
    return {section: path.name for section, path in plots.items()}


def _options(plan: BenchmarkPlan) -> dict[str, str]:
    return {
        "workers": str(plan.workers),
        "rounds": str(plan.rounds),
        "seconds": f"{plan.seconds:g}",
        "seconds at half": f"{plan.half_seconds:g}",
        "queries in process": str(plan.queries),
        "left out": ", ".join(part for part in PARTS if part not in plan.parts) or "nothing",
    }


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
