"""Paths of data that is not on this machine's disks: `s3://bucket/log`, `gs://bucket/log`, any address of fsspec."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, Final

from astec.export.readers.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_LOCAL: Final = ("file:/", "local:/")
_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


def data_path(address: str) -> Path:
    """Return the path of a file or folder of data; anything with `://` is an address."""
    return RemotePath(address) if "://" in address else Path(address)


class RemotePath(PosixPath):
    """An address that is read through fsspec, with those methods of a path that readers call.

    Every method raises DataError where fsspec, or the package that it needs for such an address, is not installed.
    """

    def __str__(self) -> str:
        # A path keeps one slash of several; only an address of a local file has three.
        plain = super().__str__()
        return plain.replace(":/", ":///" if plain.startswith(_LOCAL) else "://", 1)

    def open(self, mode: str = "rb", *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as that of Path, whatever the mode
        """Open the file for reading its bytes.

        Raises:
            OSError: it is not there, or may not be read.
        """
        with self._translated_errors():
            return self._system().open(str(self), mode)

    def copy_to(self, target: Path) -> None:
        """Copy the file to a path of this machine.

        Raises:
            OSError: it is not there or may not be read, or the copy cannot be written.
        """
        with self._translated_errors():
            self._system().get_file(str(self), str(target))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the kind and the size of the file or folder; the rest is 0.

        Raises:
            OSError: it is not there.
        """
        with self._translated_errors():
            found = self._system().info(str(self))
        kind = stat.S_IFDIR if found["type"] == "directory" else stat.S_IFREG
        return os.stat_result((kind, 0, 0, 0, 0, 0, found["size"] or 0, 0, 0, 0))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is a file or folder of this address."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a folder."""
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a file."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def iterdir(self) -> Generator[RemotePath, None, None]:
        """Yield what the folder holds.

        Raises:
            OSError: it is not there.
        """
        with self._translated_errors():
            names = [entry["name"] for entry in self._system().ls(str(self), detail=True)]
        for name in names:
            yield self / name.rstrip("/").rpartition("/")[2]

    def absolute(self) -> RemotePath:
        """Return the path itself: an address is absolute."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return the path itself: an address is no link."""
        return self

    def _system(self) -> AbstractFileSystem:
        protocol = str(self).partition("://")[0]
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            extra = _EXTRAS.get(protocol, "remote")
            raise DataError(
                self, None, "addresses are read with fsspec, which is not installed", _install(extra)
            ) from None
        try:
            return url_to_fs(str(self))[0]
        except ImportError as error:
            remedy = _install(_EXTRAS[protocol]) if protocol in _EXTRAS else "Install what it needs"
            raise DataError(self, None, f"{protocol}:// cannot be read ({error})", remedy) from None
        except ValueError as error:
            remedy = "Pass a path, or an address such as s3://bucket/log"
            raise DataError(self, None, f"is no address that fsspec knows ({error})", remedy) from None

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn the errors of the many packages that fsspec calls into OSError."""
        try:
            yield
        except (OSError, DataError):
            raise
        except Exception as error:  # Each package has errors of its own, such as botocore's for wrong credentials.
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", str(self)) from error


def _install(extra: str) -> str:
    return f"Install it (pip install 'astec[{extra}]'), or copy the data to this machine"
