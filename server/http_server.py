"""An ASGI application on uvicorn with uvloop and httptools, in one process or in several that share memory."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable, Iterable, Sequence

import uvicorn
from starlette.types import ASGIApp

from server.supervisor import Beat, Supervisor, exit_cleanly

# What a worker takes to stop beside the requests that are still open: to end its threads and its interpreter.
_STOP_MARGIN_S = 3.0
_BEAT_S = 1


def serve_http(
    make_app: Callable[[int], ASGIApp],
    listeners: Sequence[socket.socket],
    *,
    on_ready: Callable[[], None],
    on_death: Callable[[int], None] = lambda slot: None,
    access_log: bool = False,
    shutdown_timeout_s: int = 10,
) -> int:
    """Serve until SIGTERM or SIGINT: on one listener in this process, on several by a forked worker each.

    Args:
        make_app: Makes the application of a worker, in its process, given its slot.
        listeners: Bound sockets, one for each worker.
        on_ready: Called once, when all workers answer.
        on_death: Called with the slot of a worker that died.
        access_log: Whether to log every request.
        shutdown_timeout_s: Seconds that open requests get when the server stops.

    Returns:
        The exit code: 0, or `EXIT_STARTUP_FAILED` where an application does not start.
    """

    def work(slot: int, beat: Beat) -> None:
        # A socket takes connections as long as one process has it, and nobody would answer them here.
        _close(listener for number, listener in enumerate(listeners) if number != slot)
        _serve(make_app(slot), listeners[slot], beat, access_log, shutdown_timeout_s)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # also in the workers
    if len(listeners) == 1:
        # uvicorn raises again the signal that it stopped for.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, exit_cleanly)
        _serve(make_app(0), listeners[0], _once(on_ready), access_log, shutdown_timeout_s)
        return 0
    supervisor = Supervisor(
        work,
        len(listeners),
        on_ready=on_ready,
        on_death=on_death,
        on_stop=lambda: _close(listeners),
        stop_timeout_s=shutdown_timeout_s + _STOP_MARGIN_S,
    )
    # The collector writes to the objects that it looks at, and each page written to is a page no longer shared.
    gc.collect()
    gc.freeze()
    return supervisor.run()


def _serve(app: ASGIApp, listener: socket.socket, beat: Beat, access_log: bool, shutdown_timeout_s: int) -> None:
    async def notify() -> None:
        if not beat():
            server.should_exit = True

    config = uvicorn.Config(
        app,
        lifespan="on",
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=access_log,
        timeout_graceful_shutdown=shutdown_timeout_s,
        server_header=False,
        callback_notify=notify,
        timeout_notify=_BEAT_S,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])


def _close(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _once(on_ready: Callable[[], None]) -> Beat:
    """A beat whose first one is news."""
    calls = iter([on_ready])

    def beat() -> bool:
        for call in calls:
            call()
        return True

    return beat
