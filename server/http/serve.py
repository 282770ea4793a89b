"""Runs an ASGI application on uvicorn with uvloop and httptools, in forked worker processes that share memory."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from starlette.types import ASGIApp

from astec.server.http.draining_server import DrainingServer
from astec.server.http.listeners import block_new_connections
from astec.server.http.protocol import BoundedHttp
from astec.server.http.slow_clients import SlowClients
from astec.server.http.unix_listener import UnixListener
from astec.server.http.uvicorn_adapter import Config
from astec.server.workers.rollout import Releases, SameRelease
from astec.server.workers.supervisor import Supervisor, SupervisorCallbacks, WorkerTimeouts
from astec.server.workers.worker_slots import Heartbeat

App = TypeVar("App", bound=ASGIApp)
Work = Callable[[int, Heartbeat], None]
"""The work of a process, given its id and what it has to call about once a second."""

# Time that a worker needs to stop, beside that of the open requests: to end its threads and its interpreter.
_STOP_MARGIN_S = 3.0
_MIN_CUT_OFF_S = 1
_HEARTBEAT_S = 1


@dataclass(frozen=True, slots=True)
class Listeners:
    """The bound sockets that a server listens on.

    Attributes:
        num_workers: Number of workers.
        per_worker: One socket for each worker, or none at all.
        shared_tcp: Sockets on which all workers listen; the first worker that wakes accepts a connection.
        unix: A Unix domain socket on which all workers listen, too.
        reserved: Sockets on which nobody listens. They keep ports for sockets that the workers open by themselves.
    """

    num_workers: int
    per_worker: Sequence[socket.socket] = ()
    shared_tcp: Sequence[socket.socket] = ()
    unix: UnixListener | None = None
    reserved: Sequence[socket.socket] = ()

    @property
    def shared(self) -> list[socket.socket]:
        """All sockets on which all workers listen."""
        return [*self.shared_tcp, *([] if self.unix is None else [self.unix.socket])]

    def keep_for_worker(self, slot: int) -> list[socket.socket]:
        """Return the sockets of the worker in a slot, and close this process's copies of those of other workers only.

        A worker and the one that replaces it have the same sockets. As long as any process has a socket open, the
        kernel puts connections into its queue; this process would not accept them.
        """
        own = self.per_worker[slot:][:1]
        for listener in self.per_worker:
            if listener not in own:
                listener.close()
        return [*own, *self.shared]

    def keep_none(self) -> None:
        """Close this process's copies of all sockets; it accepts no connections."""
        for listener in (*self.per_worker, *self.shared, *self.reserved):
            listener.close()

    def block_and_close(self) -> None:
        """Close this process's copies of all sockets; workers can still accept the pending connections."""
        if self.unix is not None:
            self.unix.remove_file()
        for listener in (*self.per_worker, *self.shared_tcp):
            block_new_connections(listener)
        self.keep_none()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimeouts:
    """The time that clients and open requests may take, in seconds.

    Attributes:
        drain_s: Time for which a worker that stops keeps answering on open connections.
        shutdown_s: Time that open requests get when a worker stops, `drain_s` included.
        client_s: Time that a client gets to send a request, or to take its response.
        keep_alive_s: Time for which a connection stays open between two requests.
    """

    drain_s: int = 0
    shutdown_s: int = 10
    client_s: int = 10
    keep_alive_s: int = 75


_DEFAULT_TIMEOUTS = ServerTimeouts()


def serve_http(
    make_app: Callable[[int], App],
    listeners: Listeners,
    *,
    callbacks: SupervisorCallbacks,
    on_drain: Callable[[App], None] = lambda app: None,
    releases: Releases | None = None,
    timeouts: ServerTimeouts = _DEFAULT_TIMEOUTS,
    access_log: bool = False,
    work_beside: Work | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, with forked workers; SIGHUP replaces the workers one by one.

    Args:
        make_app: Makes the application of a worker, in its process, given the worker's id (see `WorkerSlots`).
        listeners: The sockets; they are closed when the server stops.
        callbacks: Called in the parent process; `on_stop` after the listeners are closed.
        on_drain: Called in a worker, with its application, when it stops accepting connections.
        releases: The releases that workers are forked with; None if there is never a new one.
        timeouts: How long clients and open requests may take.
        access_log: Whether to log every request.
        work_beside: The work of one more process, which takes no requests, but is else treated as a worker; None: none.

    Returns:
        The exit code: 0, or `EXIT_STARTUP_FAILED` if an application does not start.
    """
    num_slots = listeners.num_workers + (work_beside is not None)

    def work(worker_id: int, heartbeat: Heartbeat) -> None:
        if (slot := worker_id % num_slots) == listeners.num_workers and work_beside is not None:
            listeners.keep_none()
            work_beside(worker_id, heartbeat)
            return
        sockets = listeners.keep_for_worker(slot)
        app = make_app(worker_id)
        config = _config(app, access_log, timeouts)
        shared = listeners.shared if listeners.num_workers > 1 else []
        server = DrainingServer(config, sockets, shared, timeouts.drain_s, lambda: on_drain(app))
        slow_clients = SlowClients(timeouts.client_s // _HEARTBEAT_S)

        async def every_second() -> None:
            slow_clients.check(cast(set[BoundedHttp], server.open_connections()))
            if not heartbeat():
                server.should_exit = True

        config.callback_notify = every_second
        server.run(sockets=sockets)

    def stop() -> None:
        listeners.block_and_close()
        callbacks.on_stop()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until the supervisor handles it.
    return Supervisor(
        work,
        num_slots,
        releases=releases or SameRelease(),
        callbacks=replace(callbacks, on_stop=stop),
        timeouts=WorkerTimeouts(stop_s=timeouts.shutdown_s + _STOP_MARGIN_S),
    ).run()


def _config(app: ASGIApp, access_log: bool, timeouts: ServerTimeouts) -> Config:
    return Config(
        app,
        lifespan="on",
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=access_log,
        timeout_graceful_shutdown=max(_MIN_CUT_OFF_S, timeouts.shutdown_s - timeouts.drain_s),
        timeout_keep_alive=timeouts.keep_alive_s,
        server_header=False,
        timeout_notify=_HEARTBEAT_S,
    )
