"""`make soak`: the command line."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import QueryKindError
from astec.export.artifact.verification import ArtifactError
from astec.loadtest.bench.serving import ServeError, ours_command, served
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.queries import QueryMix, demo_pool, read_pool
from astec.loadtest.soak.questions import make_questions
from astec.loadtest.soak.soak_run import SoakPlan, soak
from astec.loadtest.soak.tally import Tally

EXIT_FAILED = 1
_COMMAND = "soak"
_QUESTIONS = 2_000
_ODD_SHARE = 0.05

app = typer.Typer(add_completion=False)


@app.command()
def run(
    artifact: Annotated[Path, typer.Argument(help="Artifact to serve.")] = Path("artifacts/demo"),
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries to ask; without it, queries of the demo log. Odd queries are added in both cases."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the soak. Longer: leaks show better.")] = 600.0,
    workers: Annotated[int, typer.Option(min=2, help="Worker processes of the server; one at a time is killed.")] = 2,
    rate: Annotated[
        float,
        typer.Option(
            min=1, help="Good requests per second. More find races sooner, but need a machine without other work."
        ),
    ] = 300.0,
    attacks: Annotated[float, typer.Option(min=1, help="Bad requests per second.")] = 30.0,
    kill_every_s: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds between two kills of a worker; 0: never. Longer: workers live longer to be measured."
        ),
    ] = 60.0,
    reload_every_s: Annotated[
        float, typer.Option(min=0, help="Seconds between two rolling restarts by SIGHUP; 0: never.")
    ] = 45.0,
    settle_s: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds of a process's life before its memory counts. With less, warming up looks like a leak."
        ),
    ] = 15.0,
    max_slope: Annotated[
        float, typer.Option(min=0, help="Most MiB per minute by which the memory allocated by a process may grow.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn at random.")] = 0,
) -> None:
    """Serve ARTIFACT, send good and bad requests, kill its workers, and check every response.

    Exit codes: 0 passed; 1 a wrong answer, a lost request, a worker not replaced or growing memory; 2 wrong usage; 130
    interrupted.
    """
    plan = SoakPlan(seconds, rate, attacks, kill_every_s, reload_every_s, settle_s, seed)
    try:
        pool = demo_pool(seed) if queries is None else read_pool(queries)
        mix = QueryMix(pool, seed=seed, zipf_exponent=0.0, odd_share=_ODD_SHARE)
        questions = make_questions(open_artifact(artifact), islice(mix, _QUESTIONS))
        with served(ours_command(artifact, workers)) as server:
            tally, trend = asyncio.run(soak(server, questions, plan))
    except (ArtifactError, QueryKindError, ServeError, UnreachableError, ValueError, OSError) as error:
        fail(_COMMAND, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    slope = trend.slope_mib_per_min()
    failures = tally.failures()
    if slope is not None and slope > max_slope:
        failures.append(f"allocated memory grows by {slope:.2f} MiB a minute; --max-slope is {max_slope:g}")
    _show(tally, slope, max_slope, failures)
    if failures:
        raise typer.Exit(EXIT_FAILED)


def _show(tally: Tally, slope: float | None, max_slope: float, failures: list[str]) -> None:
    table = Table(show_header=False)
    rows = {
        "requests sent": tally.sent,
        "right answers": tally.right,
        "refused by name": _by_kind(tally.refused),
        "wrong answers": tally.wrong,
        "lost": _by_kind(tally.lost),
        "ended by a kill": tally.cut,
        "bad requests, as documented": _by_kind(tally.hostile),
        "bad requests, otherwise": _by_kind(tally.misanswered),
        "workers killed / not replaced": f"{tally.kills} / {tally.not_replaced}",
        "restarts asked for": tally.reloads,
        "counters that went down": tally.went_down,
        "memory slope": "no process lived long enough"
        if slope is None
        else f"{slope:.2f} MiB/min (at most {max_slope:g})",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console = Console()
    console.print(table)
    for failure in failures:
        console.print(f"Failed: {failure}", style="bold red", markup=False)
    console.print("soak: failed" if failures else "soak: passed")


def _by_kind(counts: dict[str, int]) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return f"{sum(counts.values())} ({kinds})" if kinds else "0"


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
