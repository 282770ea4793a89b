"""`python -m astec.loadtest.overload`: the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from astec.export.artifact.text.bags import Query
from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.loadtest.bench.serving import ServeError, ours_command, served
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.queries import QueryMix, demo_pool, encode_request, read_pool
from astec.loadtest.overload.page import draw, to_markdown
from astec.loadtest.overload.steps import Offer, measure_overload
from astec.loadtest.report.machine import describe_machine

RESULTS = Path(__file__).parents[1] / "results"
EXIT_COLLAPSED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_TOP_K = 5

app = typer.Typer(add_completion=False)


@app.command()
def overload(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|ARTIFACT", help="A running server, or an artifact to serve for the time.", show_default=False
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries to ask, all as popular; without it, the demo log. Your own log tells what holds."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Server processes, of an ARTIFACT. As many as CPUs leave none to the generator, which then takes from "
            "goodput what it needs to offer more; fewer show the server alone.",
        ),
    ] = 1,
    multiples: Annotated[str, typer.Option(help="Of what saturates the server, rising.")] = "0.5,1,2,3",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Measured seconds of each step; longer settles p99 and shows a leak.")
    ] = 10.0,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds of each step before that; less shows queues fill, more hides it.")
    ] = 2.0,
    deadline_ms: Annotated[
        float,
        typer.Option(
            min=1, help="When an answer is worth nothing any more; at the server, it is --request-timeout-ms."
        ),
    ] = 1000.0,
    clients: Annotated[
        int, typer.Option(min=1, help="Of the closed loop; more saturate better and queue longer.")
    ] = 64,
    max_in_flight: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most requests, and connections, at once; what comes when all are busy is not sent. Less than all "
            "queues of the server, and they never fill; more takes more files (ulimit -n, of both).",
        ),
    ] = 4096,
    min_goodput: Annotated[
        float, typer.Option(min=0, max=1, help="Exit 1 if a smaller share of the goodput at 1x is left at the most.")
    ] = 0.0,
    output: Annotated[Path, typer.Option(help="Folder for the dated table and its plot.")] = RESULTS,
) -> None:
    """Offer multiples of what saturates a server, and tell what becomes of the requests.

    Exit codes: 0 done, 1 goodput collapsed (--min-goodput), 2 wrong usage or server out of reach, 130 interrupted.
    """
    try:
        steps = _multiples(multiples)
        pool = demo_pool(0) if queries is None else read_pool(queries)
        with _url(target, workers) as url:
            offer = Offer(
                url=url,
                bodies=lambda: _bodies(pool),
                seconds=seconds,
                warmup_s=warmup,
                deadline_s=deadline_ms / 1e3,
                clients=clients,
                max_in_flight=max_in_flight,
            )
            measured = measure_overload(offer, steps)
    except (ArtifactError, ServeError, UnreachableError, ValueError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    table = to_markdown(measured)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    output.mkdir(parents=True, exist_ok=True)
    page = output / f"{stamp}-overload.md"
    draw(measured, page.with_suffix(".png"))
    settings = (
        f"- server: {target}, workers {workers}\n- settings: {seconds:g} s a step after {warmup:g} s, deadline "
        f"{deadline_ms:g} ms, at most {max_in_flight:,} requests at once\n"
    )
    head = f"# Overload, {stamp} UTC\n\n{describe_machine()}{settings}"
    page.write_text(f"{head}\n{table}\n![overload]({page.stem}.png)\n")
    typer.echo(table, nl=False)
    console.print(f"wrote {page}", markup=False, soft_wrap=True)
    if measured.kept_share is not None and measured.kept_share < min_goodput:
        raise typer.Exit(EXIT_COLLAPSED)


@contextmanager
def _url(target: str, workers: int) -> Iterator[str]:
    """The server to load, started here where an artifact is given."""
    if target.startswith("http://"):
        yield target
        return
    read_manifest(Path(target))
    # A thread each, as where there are as many workers as CPUs.
    with served(ours_command(Path(target), workers, "--inference-threads", "1")) as server:
        yield server.url


def _bodies(pool: list[Query]) -> Iterator[bytes]:
    return (encode_request(query, _TOP_K) for query in QueryMix(pool, seed=0, zipf_exponent=0.0, odd_share=0.0))


def _multiples(commas: str) -> list[float]:
    try:
        multiples = [float(number) for number in commas.split(",")]
    except ValueError:
        raise ValueError(f"--multiples {commas!r} are not numbers separated by commas, such as 0.5,1,2,3") from None
    if multiples != sorted(multiples) or multiples[0] <= 0:
        raise ValueError(f"--multiples {commas!r} must be above 0 and rise, such as 0.5,1,2,3")
    return multiples


def _fail(message: str) -> NoReturn:
    typer.echo(f"overload: {message}", err=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
