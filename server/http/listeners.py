"""The sockets that a server listens on: one for each worker, all on one port."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

# Linux' number; Python has no name for it.
_SO_ATTACH_FILTER = 26
# Classic BPF over a TCP segment: load the byte of the flags; where SYN is set go on, else skip one; drop; keep.
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 2**32 - 1))
_DROP_SYN = b"".join(struct.pack("HBBI", *step) for step in _STEPS)


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


def let_nobody_in(listener: socket.socket) -> None:
    """Have the kernel begin no more connections to a socket; those that it began are still to be accepted.

    Whoever is in the queue of a socket that closes is reset, after sending a request perhaps. Without newcomers the
    queue can be emptied first. A newcomer is ignored, tries again, and is refused once the socket is closed.
    """
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    description = struct.pack("HP", len(_STEPS), ctypes.addressof(program))
    with suppress(OSError):  # A sandbox may have no filters; then the queue is emptied as far as that goes.
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, description)


def url_of(listener: socket.socket) -> str:
    """The address of a bound socket, as for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
