"""An ASGI application on uvicorn with uvloop and httptools, in forked processes that share memory."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from starlette.types import ASGIApp

from astec.server.http.draining_server import DrainingServer
from astec.server.http.listeners import block_new_connections
from astec.server.http.protocol import BoundedHttp
from astec.server.http.slow_clients import SlowClients
from astec.server.http.uvicorn_adapter import Config
from astec.server.workers.rollout import Outcome, Releases, SameRelease
from astec.server.workers.supervisor import Supervisor
from astec.server.workers.worker_slots import Beat

App = TypeVar("App", bound=ASGIApp)

# What a worker takes to stop beside the requests that are still open: to end its threads and its interpreter.
_STOP_MARGIN_S = 3.0
_MIN_CUT_OFF_S = 1
_BEAT_S = 1


def serve_http(
    make_app: Callable[[int], App],
    listeners: Sequence[socket.socket],
    *,
    releases: Releases | None = None,
    on_ready: Callable[[], None],
    on_end: Callable[[int, bool], None] = lambda place, died: None,
    on_drain: Callable[[App], None] = lambda app: None,
    on_rollout: Callable[[Outcome], None] = lambda outcome: None,
    access_log: bool = False,
    drain_s: int = 0,
    shutdown_timeout_s: int = 10,
    shared_listeners: Sequence[socket.socket] = (),
    client_timeout_s: int = 10,
) -> int:
    """Serve until SIGTERM or SIGINT, a forked worker on each listener; SIGHUP replaces the workers one by one.

    Args:
        make_app: Makes the application of a worker, in its process, given its place (see `Crew`).
        listeners: Bound sockets, one for each worker.
        releases: What workers are forked with; None where that never changes.
        on_ready: Called once, when all workers answer.
        on_end: Called with the place of a worker that ended, and whether nobody had asked it to.
        on_drain: Called in a worker, with its application, when it takes no new connections any more.
        on_rollout: Called at the end of each replacement of the workers.
        access_log: Whether to log every request.
        drain_s: Seconds for which a worker that stops answers on open connections.
        shutdown_timeout_s: Seconds that open requests get when a worker stops, `drain_s` included.
        shared_listeners: Bound sockets of which each worker takes connections too, whoever comes first.
        client_timeout_s: Seconds that a client gets to send a request, or to take its answer.

    Returns:
        The exit code: 0, or `EXIT_STARTUP_FAILED` where an application does not start.
    """

    def work(place: int, beat: Beat) -> None:
        # A socket takes connections as long as one process has it, and nobody would answer them here.
        listener = listeners[place % len(listeners)]
        for other in listeners:
            if other is not listener:
                other.close()
        app = make_app(place)
        config = _config(app, access_log, shutdown_timeout_s - drain_s)
        server = DrainingServer(config, listener, drain_s, lambda: on_drain(app))

        slow_clients = SlowClients(client_timeout_s // _BEAT_S)

        async def notify() -> None:
            slow_clients.check(cast(set[BoundedHttp], server.open_connections()))
            if not beat():
                server.should_exit = True

        config.callback_notify = notify
        server.run(sockets=[listener, *shared_listeners])

    def close_listeners() -> None:
        for listener in listeners:
            block_new_connections(listener)
        for listener in (*listeners, *shared_listeners):
            listener.close()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until the supervisor takes it.
    return Supervisor(
        work,
        len(listeners),
        releases=releases or SameRelease(),
        on_ready=on_ready,
        on_end=on_end,
        on_rollout=on_rollout,
        on_stop=close_listeners,
        stop_timeout_s=shutdown_timeout_s + _STOP_MARGIN_S,
    ).run()


def _config(app: ASGIApp, access_log: bool, cut_off_s: int) -> Config:
    return Config(
        app,
        lifespan="on",
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=access_log,
        timeout_graceful_shutdown=max(_MIN_CUT_OFF_S, cut_off_s),
        server_header=False,
        timeout_notify=_BEAT_S,
    )
