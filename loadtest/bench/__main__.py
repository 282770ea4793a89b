"""`make bench`: the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.page import Setting, write_page
from astec.loadtest.bench.plots import draw_growth, draw_latency_against_rate
from astec.loadtest.bench.results import HALF_OPEN
from astec.loadtest.bench.run import PARTS, Bench, Plan
from astec.loadtest.report.plot import draw_latency_over_time

RESULTS = Path(__file__).parents[1] / "results"
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_QUICK_SIZES = "200,400"
_QUICK_DIM = 32
_QUICK_BULK_QUERIES = 100_000

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    artifact: Annotated[Path, typer.Argument(help="Artifact to measure.")] = Path("artifacts/demo"),
    test_data: Annotated[Path, typer.Argument(help="Texts and labels to ask and to score.")] = Path("runs/demo-log"),
    train: Annotated[
        Path | None, typer.Option(help="What ARTIFACT was trained on; without it there are no peers.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of each server, and those that score a file.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of closed loops; more, less noise.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a closed loop; longer settles the tail.")] = 10.0,
    half_seconds: Annotated[float, typer.Option(min=0.1, help="Length of the load at half of saturation.")] = 60.0,
    queries: Annotated[int, typer.Option(min=1, help="Asked one at a time in process.")] = 5_000,
    sizes: Annotated[
        str, typer.Option(help="Labels of the synthetic artifacts, with as many points; rising.")
    ] = "10000,100000,1000000",
    dim: Annotated[int, typer.Option(min=2, help="Dimensions of the synthetic artifacts.")] = 300,
    scale_folder: Annotated[Path, typer.Option(help="Where those are made, and found the next time.")] = Path(
        "runs/scale"
    ),
    sharing_workers: Annotated[int, typer.Option(min=2, help="Workers whose memory is looked at.")] = 4,
    bulk_queries: Annotated[int, typer.Option(min=1, help="Lines of the file that astec-predict scores.")] = 1_000_000,
    peers: Annotated[str, typer.Option(help="Public tools, separated by commas.")] = "pecos-text,omikuji-parabel",
    environments: Annotated[Path, typer.Option(help="Where the tools are installed, and found the next time.")] = Path(
        "~/.cache/astec/peers"
    ),
    only: Annotated[str, typer.Option(help="Parts to measure, and no others. Default: all.", show_default=False)] = "",
    skip: Annotated[str, typer.Option(help=f"Parts to leave out, of {', '.join(PARTS)}.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds in place of an hour, to see that everything works.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its plots.")] = RESULTS,
) -> None:
    """Measure ARTIFACT in process and over HTTP, beside an echo and public tools, and write a dated page.

    Exit codes: 0 done, also where a part could not be measured (the page says so); 2 wrong usage; 130 interrupted (the
    page has what there is).
    """
    for option, names in (("--only", _names(only)), ("--skip", _names(skip))):
        if unknown := set(names) - set(PARTS):
            _fail(f"{option}: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    plan = Plan(
        artifact=artifact,
        test_data=test_data,
        train=train,
        workers=workers,
        rounds=1 if quick else rounds,
        seconds=min(seconds, 0.2) if quick else seconds,
        half_seconds=min(half_seconds, 0.5) if quick else half_seconds,
        queries=min(queries, 200) if quick else queries,
        sizes=[int(size) for size in _names(_QUICK_SIZES if quick else sizes)],
        dim=_QUICK_DIM if quick else dim,
        scale_folder=scale_folder,
        sharing_workers=sharing_workers,
        bulk_queries=min(bulk_queries, _QUICK_BULK_QUERIES) if quick else bulk_queries,
        peers=_names(peers),
        environments=environments.expanduser(),
        parts=[part for part in _names(only) or PARTS if part not in _names(skip)],
    )
    try:
        manifest = read_manifest(artifact)
        measured = Bench(plan)
        interrupted = measured.run()
    except (ArtifactError, DataError) as error:
        _fail(str(error))
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    setting = Setting(stamp, manifest, test_data.name, _options(plan))
    page = _write(output, setting, measured)
    typer.echo(page.read_text())
    console.print(f"wrote {page}", markup=False, soft_wrap=True)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _write(output: Path, setting: Setting, measured: Bench) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    results, plots = measured.results, {}
    if HALF_OPEN in results.half:
        plots["half"] = f"{setting.stamp}-half-rate.png"
        measured_half = results.half[HALF_OPEN].measured
        draw_latency_over_time(measured_half, f"open loop at half of {HALF_OPEN}", output / plots["half"])
    if results.curve:
        plots["curve"] = f"{setting.stamp}-latency-rate.png"
        draw_latency_against_rate(results.curve, output / plots["curve"])
    if results.growth:
        plots["growth"] = f"{setting.stamp}-growth.png"
        draw_growth(results.growth, output / plots["growth"])
    page = output / f"{setting.stamp}.md"
    write_page(page, setting, results, plots)
    return page


def _options(plan: Plan) -> dict[str, str]:
    return {
        "workers": str(plan.workers),
        "rounds": str(plan.rounds),
        "seconds": f"{plan.seconds:g}",
        "seconds at half": f"{plan.half_seconds:g}",
        "queries in process": str(plan.queries),
        "left out": ", ".join(part for part in PARTS if part not in plan.parts) or "nothing",
    }


def _names(commas: str) -> list[str]:
    return [name.strip() for name in commas.split(",") if name.strip()]


def _fail(message: str) -> NoReturn:
    typer.echo(f"bench: {message}", err=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
