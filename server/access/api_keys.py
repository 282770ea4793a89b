"""The API keys of clients, read from a file that may change while the server runs."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from astec.server.system.watched_file import WatchedFile

logger = logging.getLogger(__name__)

MIN_KEY_CHARS = 16
# The syntax of a key is that of a bearer token in RFC 6750.
_LINE = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<key>[A-Za-z0-9._~+/-]+=*)", re.ASCII)
_MAX_FILE_BYTES = 16 << 20
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


class ApiKeysError(Exception):
    """The file of keys cannot be used; the message gives the reason and the remedy, and quotes no key."""


class ApiKeys:
    """The names of clients by their keys, as in the current file.

    The file has a line `name:key` per key; empty lines, and lines that begin with #, are ignored. A name may have
    several keys, so that a client can change to a new key without interruption.

    Only digests of keys are stored and compared. The time of a look-up can tell at most something about the digest of
    the key that was sent, which the sender knows already, so that no constant-time comparison is needed.

    Args:
        path: The file of keys.

    Raises:
        ApiKeysError: The file cannot be read, has an invalid line, or has no key.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(
            path,
            holds="keys",
            max_bytes=_MAX_FILE_BYTES,
            parse=partial(_parse, path),
            error=ApiKeysError,
            logger=logger,
        )

    @property
    def names(self) -> Sequence[str]:
        """The names of the clients that have a key, sorted."""
        return sorted(set(self._file.content.values()))

    def name_of(self, key: bytes) -> str | None:
        """Return the name of the client with this key, or None if no client has it."""
        return self._file.content.get(sha256(key).digest())

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether its keys are in use.

        A file that cannot be used leaves the keys as they are, and is logged once.
        """
        if not self._file.refresh():
            return False
        logger.info("%d keys of %d clients are in use", len(self._file.content), len(self.names))
        return True


def _parse(path: Path, content: bytes, status: os.stat_result) -> dict[bytes, str]:
    """Return the names of clients by the digests of their keys."""
    names: dict[bytes, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ApiKeysError(f"{path}, line {number} is not name:key (a key has letters, digits and . _ ~ + / - =)")
        name, key = match["name"], match["key"]
        if len(key) < MIN_KEY_CHARS:
            raise ApiKeysError(
                f"{path}, line {number}: the key has {len(key)} characters; at least {MIN_KEY_CHARS} are hard to guess "
                "(openssl rand -hex 32 makes one)"
            )
        if names.setdefault(sha256(key.encode()).digest(), name) != name:
            raise ApiKeysError(f"{path}, line {number}: this key has another name already; give each client its own")
    if not names:
        raise ApiKeysError(f"{path} has no key, so that nobody could ask; write a line name:key")
    if status.st_mode & _OTHERS_READ:
        logger.warning("the keys in %s can be read by other users; chmod 600 keeps them out", path)
    return names
