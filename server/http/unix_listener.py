"""A Unix domain socket that a server listens on: a file, which only processes of this machine can connect to."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from astec.server.http.listeners import ListenError

_ALL_PERMISSIONS = 0o777


class UnixListener:
    """A bound Unix domain socket and its file.

    `listen` is to be called later, by several processes if they share the socket. The file is not removed when the
    socket is closed, as other processes may still listen on it: see `remove_file`.

    Args:
        path: The file to make. The socket of a server that has died is replaced.
        mode: The permissions of the file; to connect, a process needs permission to write.

    Raises:
        ListenError: Another server listens there, the path is that of another kind of file, or no file can be made.

    Attributes:
        socket: The socket.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        try:
            _remove_stale(path)
            # With the mask, the file has its permissions from the beginning.
            mask = os.umask(_ALL_PERMISSIONS & ~mode)
            try:
                self.socket.bind(str(path))
            finally:
                os.umask(mask)
            self._identity = _identity(path.lstat())
        except OSError as error:
            self.socket.close()
            raise ListenError(
                f"cannot listen on {path}: {error.strerror or error}. Choose another --uds, of at most 107 bytes, in a "
                "folder that this user may write to."
            ) from error
        except ListenError:
            self.socket.close()
            raise

    def remove_file(self) -> None:
        """Remove the file, so that nobody connects any more, unless it is another one by now; may be called again."""
        try:
            if _identity(self._path.lstat()) == self._identity:
                self._path.unlink()
        except FileNotFoundError:
            pass


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what distinguishes a socket's file, as long as the socket is open, from a later one of the same name."""
    return status.st_dev, status.st_ino


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that has died.

    Raises:
        ListenError: Another server listens on the socket, or the file is no socket.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"cannot listen on {path}: it exists, and is no socket. Remove it, or choose another --uds.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # Somebody listens, with a full backlog.
    raise ListenError(f"cannot listen on {path}: another server listens there. Stop it, or choose another --uds.")
