"""The echo: a constant answer of a given size on the server's own stack, `python -m astec.loadtest.peers.echo`.

Its throughput is the upper limit of the stack; the server falls below it by the cost of the model and of all around it.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from astec.loadtest.peers.endpoint import serve_endpoint

# As long as the server's header, because sending it costs time too.
_HEADERS = {
    "Server-Timing": "queue;dur=0.020, featurize;dur=0.020, encode;dur=0.020, shortlist;dur=0.020, score;dur=0.020"
}
_MIN_BODY_BYTES = len(json.dumps({"echo": ""}))

app = typer.Typer(add_completion=False)


@app.command()
def echo(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 lets the system pick a free one.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, as many as the server's.")] = 1,
    body_bytes: Annotated[
        int, typer.Option(min=_MIN_BODY_BYTES, help="Size of a response body; use the mean size of the server's.")
    ] = 400,
) -> None:
    """Answer every POST /predict with the same JSON until interrupted."""
    raise typer.Exit(serve_echo(port, workers, body_bytes))


def serve_echo(port: int, workers: int, body_bytes: int) -> int:
    """Serve the constant answer until SIGTERM or SIGINT; return the exit code."""
    body = json.dumps({"echo": "x" * (body_bytes - _MIN_BODY_BYTES)}).encode()
    return serve_endpoint(lambda: lambda _: body, port, workers, _HEADERS)


if __name__ == "__main__":
    app()
