"""`python -m astec.loadtest.protocols`: the command line."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.loadtest.bench.serving import ServeError, ours_command, served
from astec.loadtest.command_line import fail
from astec.loadtest.generator.queries import demo_pool, read_pool
from astec.loadtest.protocols.rounds import measure, to_markdown
from astec.loadtest.protocols.ways import Target, WayError

_COMMAND = "protocols"
_MAX_QUERIES = 1000

app = typer.Typer(add_completion=False)


@app.command()
def protocols(
    artifact: Annotated[Path, typer.Argument(help="The artifact to serve, of a model of texts.", show_default=False)],
    queries: Annotated[
        Path | None, typer.Option(help="Queries to ask; without it, queries of the demo log.", show_default=False)
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections, each with one request at a time.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of each protocol in each round.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the medians are printed.")] = 5,
) -> None:
    """Serve ARTIFACT with one worker and compare what its protocols cost, in turn."""
    try:
        model = read_manifest(artifact).model.name
        pool = demo_pool(0) if queries is None else read_pool(queries)
        texts = [query for query in pool if isinstance(query, str)][:_MAX_QUERIES]
        port = _free_port()
        with served(ours_command(artifact, 1, "--grpc-port", str(port))) as server:
            target = Target(server.url, f"127.0.0.1:{port}", model)
            workers = server.workers()
            costs = measure(target, workers, texts, connections=connections, seconds=seconds, rounds=rounds)
    except (ArtifactError, OSError, ServeError, ValueError, WayError) as error:
        fail(_COMMAND, str(error))
    typer.echo(to_markdown(costs))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    app()
