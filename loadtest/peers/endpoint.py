"""A function behind `POST /predict` on the server's own stack: its workers, sockets, event loop and HTTP parser.

The echo and the peers are served this way, so that only the function differs from our server. This module imports only
those parts of the project that need nothing but uvicorn and starlette: the environments of peers have nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from astec.server.http.listeners import open_listeners, url_of
from astec.server.http.serve import Listeners, serve_http
from astec.server.workers.supervisor import SupervisorCallbacks

Respond = Callable[[bytes], bytes]
"""Maps the body of a request to the body of its response."""


def serve_endpoint(
    open_model: Callable[[], Respond], port: int, workers: int, headers: dict[str, str] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; prints `Serving on URL` when all workers are ready.

    Args:
        open_model: makes the function that answers; called in each worker.
        port: port to listen on; 0 lets the system pick a free one.
        workers: number of worker processes.
        headers: headers of every response, in addition to its length and type.

    Returns:
        The exit code.

    Raises:
        ListenError: the port is taken.
    """
    listeners = open_listeners("127.0.0.1", port, workers)
    return serve_http(
        lambda slot: _application(open_model(), headers or {}),
        Listeners(workers, listeners),
        callbacks=SupervisorCallbacks(on_ready=lambda: print(f"Serving on {url_of(listeners[0])}", flush=True)),
    )


def _application(respond: Respond, headers: dict[str, str]) -> Starlette:
    async def predict(request: Request) -> Response:
        return Response(respond(await request.body()), media_type="application/json", headers=headers)

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])])
