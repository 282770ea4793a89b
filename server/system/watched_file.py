"""A file that an operator may change while the server runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")

_Signature = tuple[int, int, int, int]
_MISSING: _Signature = (0, 0, 0, 0)


class WatchedFile(Generic[Content]):
    """The parsed content of a file, as of the last look at it.

    A file that cannot be used later on leaves the content as it is, and is logged once.

    Args:
        path: The file.
        holds: What the file holds, for messages.
        max_bytes: The largest file.
        parse: Makes the content of the bytes and the status of the file; raises `error` if it cannot be used.
        error: The type of all errors.
        logger: Where a file that cannot be used is logged.
        may_be_empty: Whether an empty file can be used. A program that writes a file begins with an empty one, so that
            it is used only once it is still empty at the next look.

    Raises:
        Exception: An `error`: the file cannot be read, is too large, or `parse` refuses it.
    """

    def __init__(
        self,
        path: Path,
        *,
        holds: str,
        max_bytes: int,
        parse: Callable[[bytes, os.stat_result], Content],
        error: type[Exception],
        logger: logging.Logger,
        may_be_empty: bool = False,
    ) -> None:
        self._path, self._holds, self._max_bytes = path, holds, max_bytes
        self._parse, self._error, self._logger = parse, error, logger
        self._may_be_empty = may_be_empty
        self._refused: _Signature | None = None
        self._empty: _Signature | None = None
        self.content, self._signature = self._read()

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether its new content is in use."""
        try:
            status = self._path.stat()
            signature = _signature(status)
        except OSError:
            signature, status = _MISSING, None
        if signature in (self._signature, self._refused):
            return False
        if self._may_be_empty and status is not None and status.st_size == 0 and signature != self._empty:
            self._empty = signature
            return False
        try:
            self.content, self._signature = self._read()
        except self._error as error:
            self._logger.error("the old %s stay in use: %s", self._holds, error)
            self._refused = signature
            return False
        self._refused = None
        return True

    def _read(self) -> tuple[Content, _Signature]:
        try:
            with self._path.open("rb") as file:
                # Read before the content, so that the next refresh finds a change in between.
                status = os.fstat(file.fileno())
                content = file.read(self._max_bytes + 1)
        except OSError as error:
            raise self._error(f"the {self._holds} in {self._path} cannot be read: {error.strerror}") from error
        if len(content) > self._max_bytes:
            raise self._error(f"{self._path} is larger than {self._max_bytes} bytes; is it the file of {self._holds}?")
        return self._parse(content, status), _signature(status)


def _signature(status: os.stat_result) -> _Signature:
    # The last of them changes with owner and mode, too.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
