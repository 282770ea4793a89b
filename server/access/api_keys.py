"""The keys that clients show, out of a file that may change while the server runs."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

MIN_KEY_CHARS = 16
# A key is what RFC 6750 lets a bearer token be.
_LINE = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<key>[A-Za-z0-9._~+/-]+=*)", re.ASCII)
_MAX_FILE_BYTES = 16 << 20
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH

_Signature = tuple[int, int, int, int]
_MISSING: _Signature = (0, 0, 0, 0)


class ApiKeysError(Exception):
    """The file of keys cannot be used; the message says why and what to do, and quotes no key."""


class _Content(NamedTuple):
    names: dict[bytes, str]  # by the digest of a key
    signature: _Signature


class ApiKeys:
    """Names of clients by their keys, as the file says now.

    The file has a line `name:key` per key; empty lines, and lines that begin with #, mean nothing. A name may have
    several keys, so that a client can go from one to the next without a gap.

    Kept and compared are digests. A look-up tells by its time at most something about the digest of what was shown,
    which whoever shows it knows, and from which nobody finds a key with another: it needs no constant-time comparison.

    Args:
        path: The file.

    Raises:
        ApiKeysError: It cannot be read, or has a line that is not a key, or none that is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = _read(path)
        self._refused: _Signature | None = None

    @property
    def names(self) -> Sequence[str]:
        """The clients that have a key, sorted."""
        return sorted(set(self._content.names.values()))

    def name_of(self, key: bytes) -> str | None:
        """Return the name of the client with this key, or None where nobody has it."""
        return self._content.names.get(sha256(key).digest())

    def refresh(self) -> bool:
        """Read the file if it is another than before, and return whether there are new keys.

        A file that cannot be used leaves the keys as they are, and is logged once.
        """
        try:
            signature = _signature(self._path.stat())
        except OSError:
            signature = _MISSING
        if signature in (self._content.signature, self._refused):
            return False
        try:
            self._content = _read(self._path)
        except ApiKeysError as error:
            logger.error("the old keys stay in use: %s", error)
            self._refused = signature
            return False
        self._refused = None
        logger.info("%d keys of %d clients are in use", len(self._content.names), len(self.names))
        return True


def _read(path: Path) -> _Content:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # Before its content: what is written in between is then read again.
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ApiKeysError(f"the keys in {path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ApiKeysError(f"{path} is larger than {_MAX_FILE_BYTES} bytes; is it the file of keys?")
    names = _parse(path, content)
    if status.st_mode & _OTHERS_READ:
        logger.warning("the keys in %s can be read by other users; chmod 600 keeps them out", path)
    return _Content(names, _signature(status))


def _parse(path: Path, content: bytes) -> dict[bytes, str]:
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
    return names


def _signature(status: os.stat_result) -> _Signature:
    # The last changes with owner and mode, too.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
