"""The lock of a run folder, which keeps a second training out of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from astec.export.console import console
from astec.trainer.run.folder import RunError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, which is created, until the block or this process ends.

    The folder itself is locked, so no file is left behind by a kill.

    Raises:
        RunError: another process trains in the folder.
        OSError: the folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process trains in {folder}; wait until it has ended, or choose another folder"
            ) from None
        except OSError as error:  # Some network file systems have no locks.
            message = f"{folder} cannot be locked ({error.strerror}): make sure that no other training uses it"
            console.print(message, markup=False, soft_wrap=True)
        yield
    finally:
        os.close(descriptor)
