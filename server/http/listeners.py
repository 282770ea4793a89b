"""The listening sockets of a server: one for each worker process, all on one port."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

# The number of this socket option on Linux; Python has no name for it.
_SO_ATTACH_FILTER = 26
# A classic BPF program for a TCP segment. Load the byte with the flags; if SYN is set continue, else skip the next
# instruction; drop the segment; keep the segment.
_INSTRUCTIONS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 2**32 - 1))
_DROP_SYN = b"".join(struct.pack("HBBI", *instruction) for instruction in _INSTRUCTIONS)


class ListenError(Exception):
    """The server cannot listen on the address; the message says why and what to do."""


def open_listeners(host: str, port: int, count: int, flag: str = "--port") -> list[socket.socket]:
    """Bind `count` sockets to one address, for `socket.listen` to be called later.

    With SO_REUSEPORT the kernel spreads the connections over the sockets: of 32 connections to two workers, each worker
    got 11 to 21. With one socket for all workers, the worker that wakes first accepts what is pending: up to 31 of 32,
    which halved the throughput in the worst runs. Keep the sockets open in the parent process: then connections to the
    socket of a worker that died are not refused, but wait for the next worker on that socket.

    Args:
        host: An IPv4 or IPv6 address, or a host name.
        port: The port; 0 lets the system pick a free one.
        count: Number of sockets.
        flag: The flag that the port is from, for errors.

    Raises:
        ListenError: The address is in use, or is not an address of this machine.
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
            # Not before the first socket is bound: if another server has the port, that must fail, not share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise ListenError(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            f"Stop what listens there, or choose another {flag} or --host."
        ) from error
    return listeners


def block_new_connections(listener: socket.socket) -> None:
    """Make the kernel ignore new connections to a socket; pending connections can still be accepted.

    When a listening socket is closed, the kernel resets its pending connections, on which clients may have sent a
    request already. While new connections are blocked, the pending ones can all be accepted before the socket is
    closed. A client that tries to connect meanwhile gets no reply, tries again, and is refused once it is closed.
    """
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    description = struct.pack("HP", len(_INSTRUCTIONS), ctypes.addressof(program))
    with suppress(OSError):  # A sandbox may not support filters; then a connection may still be reset.
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, description)


def url_of(listener: socket.socket) -> str:
    """Return the `http://` URL of a bound socket, to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
