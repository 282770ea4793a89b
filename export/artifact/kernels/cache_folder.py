"""The folder of compiled kernels, on machines where numba finds none that it may write to.

numba keeps compiled kernels in `NUMBA_CACHE_DIR`, else beside the module, else in the user's cache folder. A read-only
installation, run by a user without a home, has none of these; then numba fails with "no locator available".
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
# Memory, which most containers can write to even if all else is read-only. Compiled kernels take a few megabytes.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (the folder in it is checked)

logger = logging.getLogger(__name__)


class KernelFolderError(ImportError):
    """There is no folder for compiled kernels; the message says what to do."""


def ensure_kernel_folder() -> None:
    """Let numba use a private temporary folder if none of the folders that it would try can be written to.

    It is told so by the environment variable, which processes started by this one inherit. Call this before the
    first kernel is decorated.

    The folder is named after the user, who reuses it: numba distinguishes kernels by the path and the content of their
    module, its own version and the CPU. It belongs to this user alone, because a compiled kernel is code that is run.

    Raises:
        KernelFolderError: The temporary folders cannot be written to either, or somebody else has taken the name.
    """
    tried = list(_folders_of_numba())
    if any(_can_be_written(folder) for folder in tried):
        return
    folder = _private_folder()
    os.environ[VARIABLE] = str(folder)
    if "numba" in sys.modules:  # It has read the variable.
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    logger.warning(
        "compiled kernels are kept in %s, because %s cannot be written to; to keep them elsewhere, set %s",
        folder,
        " and ".join(map(str, tried)),
        VARIABLE,
    )


def _folders_of_numba() -> Iterator[Path]:
    """Yield the folders that numba tries, in its order."""
    if given := os.environ.get(VARIABLE):
        yield Path(given)
    yield Path(__file__).parent / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    if not cache.startswith("~"):  # Else this user has no home; numba would make a folder with the name "~".
        yield Path(cache) / "numba"


def _can_be_written(folder: Path) -> bool:
    """Make a folder if there is none, as numba does, and return whether files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """Return a temporary folder of this user, mode 0700, that files can be made in.

    Raises:
        KernelFolderError: There is none.
    """
    for parent in _temporary_folders():
        folder = parent / f"astec-kernels-{os.geteuid()}"
        try:
            folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        except OSError:
            continue
        if _is_private(folder) and _can_be_written(folder):
            return folder
    raise KernelFolderError(
        f"no folder for compiled kernels can be written to: set {VARIABLE} to one that belongs to this user"
    )


def _temporary_folders() -> Iterator[Path]:
    with suppress(FileNotFoundError):  # Not even the working directory can be written to.
        yield Path(tempfile.gettempdir())
    yield _SHARED_MEMORY


def _is_private(folder: Path) -> bool:
    """Return whether a path is a folder, not a link to one, that nobody but this user may read or write."""
    status = folder.lstat()
    others = stat.S_IRWXG | stat.S_IRWXO
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & others
