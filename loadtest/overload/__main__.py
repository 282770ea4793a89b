"""`python -m astec.loadtest.overload`: the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.text.bags import Query
from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.loadtest.bench.serving import ServeError, ours_command, served
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.queries import QueryMix, demo_pool, encode_request, read_pool
from astec.loadtest.overload.overload_page import draw, to_markdown
from astec.loadtest.overload.steps import Offer, Overload, measure_overload
from astec.loadtest.report.dated_page import RESULTS, DatedPage
from astec.loadtest.report.markdown import front_matter

EXIT_COLLAPSED = 1
_COMMAND = "overload"
_TOP_K = 5

app = typer.Typer(add_completion=False)


@app.command()
def overload(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|ARTIFACT",
            help="A running server, or an artifact to serve during the measurement.",
            show_default=False,
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries to ask, all equally popular; without it, queries of the demo log. Queries of your own log "
            "give figures that hold for you."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Worker processes of the server of an ARTIFACT. With as many as CPUs, none is left for the generator, "
            "and goodput falls as it offers more; fewer workers show the server alone.",
        ),
    ] = 1,
    multiples: Annotated[
        str, typer.Option(help="Rates to offer, as multiples of the saturation rate, rising.")
    ] = "0.5,1,2,3",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Measured seconds of each step. Longer: steadier p99, and leaks show.")
    ] = 10.0,
    warmup: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds of load before each step is measured. Less shows queues while they fill, more hides it.",
        ),
    ] = 2.0,
    deadline_ms: Annotated[
        float,
        typer.Option(min=1, help="Time after which a response is useless; the server's own is --request-timeout-ms."),
    ] = 1000.0,
    clients: Annotated[
        int,
        typer.Option(min=1, help="Clients of the closed loop. More saturate the server better, with longer queues."),
    ] = 64,
    max_in_flight: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most requests, and connections, at once; a request that is due when all are busy is not sent. With "
            "less than the sum of the server's queues, these never fill; more needs more open files (ulimit -n, of "
            "both processes).",
        ),
    ] = 4096,
    min_goodput: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Exit 1 if the goodput at the highest multiple is a smaller share of that at 1x."
        ),
    ] = 0.0,
    output: Annotated[Path, typer.Option(help="Folder for the dated table and its plot.")] = RESULTS,
) -> None:
    """Offer multiples of the rate that saturates a server, and report the outcome of the requests.

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
        fail(_COMMAND, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    settings = (
        f"server: {target}, workers {workers}",
        f"settings: {seconds:g} s a step after {warmup:g} s, deadline {deadline_ms:g} ms, at most {max_in_flight:,} "
        "requests at once",
    )
    _report(measured, settings, output)
    if measured.kept_share is not None and measured.kept_share < min_goodput:
        raise typer.Exit(EXIT_COLLAPSED)


def _report(measured: Overload, settings: tuple[str, ...], output: Path) -> None:
    """Write the dated page and its picture, and print the table."""
    page = DatedPage.create(output, "overload")
    draw(measured, page.picture())
    table = to_markdown(measured)
    head = front_matter("Overload,", page.stamp, settings)
    page.write(f"{head}\n\n{table}\n![overload]({page.picture().name})\n")
    typer.echo(table, nl=False)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)


@contextmanager
def _url(target: str, workers: int) -> Iterator[str]:
    """Yield the URL of the server to load; an artifact is served here for the duration of the block."""
    if target.startswith("http://"):
        yield target
        return
    read_manifest(Path(target))
    # One inference thread a worker, as on a machine with as many workers as CPUs.
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


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
