"""`make rivals`: the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.export.readers import DataError
from astec.export.readers.split_file import find_file
from astec.loadtest.bench.benchmark import PROPENSITY
from astec.loadtest.bench.machine_yardsticks import measure_machine
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.bench.trained_peers import TrainedPeer, train_peers
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail, split_names
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.generator.queries import read_pool
from astec.loadtest.peers.peer_measurement import PeerResult, measure_ours
from astec.loadtest.peers.peer_split import PeerSplit
from astec.loadtest.report.dated_page import RESULTS, DatedPage
from astec.loadtest.report.machine import describe_machine
from astec.loadtest.report.markdown import front_matter
from astec.loadtest.rivals.comparison import Comparison, RivalsPlan
from astec.loadtest.rivals.frameworks import FRAMEWORKS, names, short_name
from astec.loadtest.rivals.rivals_page import draw, to_markdown

_COMMAND = "rivals"

app = typer.Typer(add_completion=False)


@app.command()
def rivals(
    artifact: Annotated[Path, typer.Argument(help="Artifact that all servers serve.", show_default=False)],
    queries: Annotated[
        Path, typer.Argument(help="Texts to ask: a file, or a folder with a test file.", show_default=False)
    ],
    only: Annotated[
        str, typer.Option(help=f"The only frameworks, of {', '.join(names())}. Default: all.", show_default=False)
    ] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes of each server that hold the model.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median round counts. More: less noise.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of a closed loop. Longer: steadier tail latencies.")
    ] = 5.0,
    compared: Annotated[int, typer.Option(min=1, help="Most queries whose answers are compared with ours.")] = 1000,
    start_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds in which a framework must answer. A busy machine needs more.")
    ] = 180.0,
    train: Annotated[
        Path | None,
        typer.Option(help="Data that ARTIFACT was trained on: also asks other tools in process.", show_default=False),
    ] = None,
    peers: Annotated[
        str, typer.Option(help="The tools to ask in process, separated by commas.")
    ] = "fasttext,pecos-text,omikuji-parabel,model2vec",
    environments: Annotated[
        Path, typer.Option(help="Folder for installing frameworks and tools; kept for later runs.")
    ] = Path("~/.cache/astec/peers"),
    output: Annotated[Path, typer.Option(help="Folder for the dated page and its picture.")] = RESULTS,
) -> None:
    """Serve ARTIFACT by our server and by other frameworks, ask all the same QUERIES, and write a dated page.

    Exit codes: 0 done, even if a framework could not be installed or started (its row says why); 2 wrong usage, or our
    own server fails; 130 interrupted (the page has the results so far).
    """
    if unknown := set(split_names(only)) - set(names()):
        fail(_COMMAND, f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    chosen = [framework for framework in FRAMEWORKS if not only or short_name(framework) in split_names(only)]
    try:
        manifest = read_manifest(artifact)
        pool = read_pool(find_file(queries, "test") if queries.is_dir() else queries)
        if not isinstance(pool[0], str):
            raise ValueError(f"{queries} has feature ids; the frameworks are asked texts")
        plan = RivalsPlan(
            *(artifact, pool, chosen, workers, rounds, seconds, compared, start_timeout), environments.expanduser()
        )
        machine = describe_machine() + measure_machine().describe()
        comparison = Comparison(plan)
        interrupted = comparison.run()
        in_process = [] if train is None or interrupted else _in_process(plan, train, queries, split_names(peers))
    except (ArtifactError, DataError, ServeError, UnreachableError, ValueError, OSError) as error:
        fail(_COMMAND, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    settings = (
        f"model: {manifest.model.name} {manifest.model.version}: {manifest.dimensions.num_labels:,} labels",
        f"queries: {len(pool):,} texts of {queries.name}, all as popular",
        f"settings: workers {workers}, rounds {rounds}, seconds {seconds:g}",
    )
    _report(comparison, in_process, (settings, machine), output)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _in_process(plan: RivalsPlan, train: Path, test: Path, tools: Sequence[str]) -> list[PeerResult]:
    """Ask our model and public tools one query at a time in process, trained on the same texts.

    Raises:
        DataError: a file cannot be read.
        ValueError: the data has no labels to measure answers with.
    """
    split = PeerSplit.read(train, test, PROPENSITY)
    results = [measure_ours(open_artifact(plan.artifact), split)]
    with TemporaryDirectory(prefix="astec-rivals-") as folder:
        trained = train_peers(tools, split, Path(folder), plan.environments)
        results += [peer.result if isinstance(peer, TrainedPeer) else peer for peer in trained]
    return results


def _report(
    comparison: Comparison, in_process: Sequence[PeerResult], head: tuple[Sequence[str], str], output: Path
) -> None:
    """Write the dated page and its picture, and print the page; `head` has the settings and the machine."""
    page = DatedPage.create(output, "rivals")
    measured = any(contender.loads for contender in comparison.contenders)
    if measured:
        draw(comparison.contenders, page.picture())
    settings, machine = head
    text = front_matter("Serving frameworks,", page.stamp, settings, machine)
    text += "\n\n" + to_markdown(comparison.contenders, in_process, page.picture().name if measured else None)
    page.write(text)
    typer.echo(text)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
