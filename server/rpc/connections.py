"""The sockets of a gRPC server, which shuts down without a lost call only if its clients stop sending first.

gRPC's own shutdown cancels the calls that arrive before its clients have heard of it: some thirty of them under load,
measured. Decision 0011 has the reasons for what this module does instead.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

from astec.server.http.listeners import block_new_connections

# An HTTP/2 frame of type 7 (GOAWAY) with 8 bytes on stream 0: the last stream is 2^31 - 1, the error is none. By RFC
# 9113, section 6.8, a server begins a graceful shutdown with it: the client sends its next requests on another
# connection, and all those that it has sent are still answered.
GOAWAY = struct.pack(">I B I I I", 8 << 8 | 7, 0, 0, 2**31 - 1, 0)

_TICK_S = 0.05
_MAX_ACCEPT_S = 1.0
# gRPC's threads write what the event loop has handed to them within this time, if the loop hands nothing more to them.
_SETTLE_S = 0.003
# A socket whose kernel has so few bytes to send, or unconfirmed, cannot have refused a part of the last write: then it
# would have been full. So no frame is half written.
_MAX_UNSENT_BYTES = 4096
_SIOCOUTQ = 0x5411
# The place of `tcpi_bytes_acked` in Linux' `struct tcp_info`. The first frame of a server is SETTINGS, with a head of 9
# bytes: GOAWAY must not come before it.
_BYTES_ACKED = 120
_FRAME_HEAD_BYTES = 9


async def send_clients_away(port: int, timeout_s: float) -> None:
    """Accept no more connections on a port of this process, and have the clients close those that are open.

    Args:
        port: The port.
        timeout_s: Seconds after which connections whose clients do not close them are left.
    """
    end_s = time.monotonic() + timeout_s
    await _close_listeners(port)
    told: set[int] = set()
    while True:
        is_open = is_settled = False
        for connection in _sockets_on(port, listening=False):
            with connection, suppress(OSError):  # The client may have closed it by now.
                is_open = True
                identity = os.fstat(connection.fileno()).st_ino
                if identity in told:
                    continue
                if not is_settled:
                    time.sleep(_SETTLE_S)  # Not asyncio's: the event loop must hand nothing to gRPC's threads.
                    is_settled = True
                if _is_between_frames(connection):
                    connection.send(GOAWAY)
                    told.add(identity)
        if not is_open or time.monotonic() > end_s:
            return
        await asyncio.sleep(_TICK_S)


async def _close_listeners(port: int) -> None:
    """Close the listening sockets of a port once all pending connections are accepted."""
    listeners = list(_sockets_on(port, listening=True))
    pending = select.poll()
    for listener in listeners:
        block_new_connections(listener)
        pending.register(listener, select.POLLIN)
    end_s = time.monotonic() + _MAX_ACCEPT_S
    while listeners and pending.poll(0) and time.monotonic() < end_s:
        await asyncio.sleep(_SETTLE_S)
    for listener in listeners:
        with listener, suppress(OSError):  # Two of them may be the same socket.
            listener.shutdown(socket.SHUT_RDWR)


def _sockets_on(port: int, *, listening: bool) -> Iterator[socket.socket]:
    """Yield copies of the TCP sockets of this process that listen on a port, or that are connections to it."""
    for path in Path("/proc/self/fd").iterdir():
        try:
            if not stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(path.name)))
        except OSError:  # It was closed meanwhile.
            continue
        try:
            is_wanted = (
                copy.family in (socket.AF_INET, socket.AF_INET6)
                and copy.type == socket.SOCK_STREAM
                and copy.getsockname()[1] == port
                and bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == listening
                and (listening or copy.getpeername() is not None)
            )
        except OSError:  # It is not connected, as the socket that keeps the port.
            is_wanted = False
        if is_wanted:
            yield copy
        else:
            copy.close()


def _is_between_frames(connection: socket.socket) -> bool:
    """Return whether the server has sent its first frame, and no part of a frame waits to be written."""
    (unsent,) = struct.unpack("i", ioctl(connection.fileno(), _SIOCOUTQ, bytes(4)))
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    if len(info) < _BYTES_ACKED + 8:  # of another system
        return False
    (acked,) = struct.unpack_from("Q", info, _BYTES_ACKED)
    return bool(unsent < _MAX_UNSENT_BYTES and acked >= _FRAME_HEAD_BYTES)
