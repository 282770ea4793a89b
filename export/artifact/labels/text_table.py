"""A table of texts by id: one UTF-8 blob and its offsets, both memory-mapped, without a Python object for each text."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.array_file import map_array

BLOB_SUFFIX = ".bin"
OFFSETS_SUFFIX = ".offsets.npy"


def text_files(stem: str) -> tuple[str, str]:
    """Return the names of the two files of a table."""
    return f"{stem}{BLOB_SUFFIX}", f"{stem}{OFFSETS_SUFFIX}"


class TextTable(Sequence[str]):
    """Texts 0..n-1; each is decoded when it is read.

    Attributes:
        blob: the UTF-8 bytes of all texts, one after the other, uint8 [bytes].
        offsets: where each text begins, and the end of the last, int64 [n + 1].
    """

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.blob = blob
        self.offsets = offsets
        # Slicing a memory-mapped array creates an array object, which takes longer than the rest of a look-up.
        self._bytes = blob.data
        self._bounds = offsets.data

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> TextTable:
        """Make a table of `texts` in their order."""
        blob, ends = bytearray(), array("q", [0])  # a Python object for each of millions of texts would take gigabytes
        for text in texts:
            blob += text.encode()
            ends.append(len(blob))
        return cls(read_only(np.frombuffer(blob, np.uint8)), np.frombuffer(ends, np.int64))

    @classmethod
    def joined(cls, tables: Sequence[TextTable]) -> TextTable:
        """Make a table of the texts of one or more tables, one after the other."""
        lengths = np.concatenate([np.diff(table.offsets) for table in tables])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(np.concatenate([table.blob for table in tables]), offsets)

    def take(self, rows: NDArray[np.int64]) -> TextTable:
        """Return a table of the texts `rows`, in that order."""
        positions, offsets = take_rows(self.offsets, rows)
        return TextTable(self.blob[positions], offsets)

    def extended(self, texts: Iterable[str]) -> TextTable:
        """Return a table with more texts after those of this one."""
        return TextTable.joined([self, TextTable.from_texts(texts)])

    @classmethod
    def open(cls, folder: Path, stem: str) -> TextTable:
        """Map `folder/stem.bin` and `folder/stem.offsets.npy`.

        Raises:
            ValueError: the two files do not belong together, or the texts are not UTF-8.
        """
        offsets = map_array(folder / f"{stem}{OFFSETS_SUFFIX}")
        blob_path = folder / f"{stem}{BLOB_SUFFIX}"
        size = blob_path.stat().st_size
        # An empty file cannot be mapped.
        blob = np.memmap(blob_path, np.uint8, mode="r") if size else np.empty(0, np.uint8)
        table = cls(blob, offsets)
        table._check(size, stem)
        return table

    def save(self, folder: Path, stem: str) -> None:
        """Write the two files that `open` reads."""
        (folder / f"{stem}{BLOB_SUFFIX}").write_bytes(self.blob.tobytes())
        np.save(folder / f"{stem}{OFFSETS_SUFFIX}", self.offsets)

    def sha256(self) -> str:
        """Return the SHA-256 of the texts and their order."""
        digest = sha256(self.offsets.tobytes())
        digest.update(self.blob.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self._bounds) - 1:
            raise IndexError(f"text {index} of {len(self)}")
        return str(self._bytes[self._bounds[index] : self._bounds[index + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        for begin, end in pairwise(self._bounds):
            yield str(self._bytes[begin:end], "utf-8")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextTable):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.blob, other.blob)

    def __hash__(self) -> int:
        return hash((len(self), len(self.blob)))

    def _check(self, blob_bytes: int, stem: str) -> None:
        offsets = self.offsets
        if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) == 0:
            raise ValueError(f"{stem}{OFFSETS_SUFFIX} must be int64 [n + 1], not {offsets.dtype} {offsets.shape}")
        # Compare, do not subtract: the difference of two 64-bit numbers may overflow.
        if offsets[0] != 0 or offsets[-1] != blob_bytes or np.any(offsets[1:] < offsets[:-1]):
            raise ValueError(f"{stem}{OFFSETS_SUFFIX} does not partition the {blob_bytes} bytes of {stem}{BLOB_SUFFIX}")
        try:
            str(self._bytes, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{stem}{BLOB_SUFFIX} is not UTF-8: {error}") from error
        # Bytes 10xxxxxx continue a character that began before them.
        begins = offsets[:-1][np.diff(offsets) > 0]
        if np.any((self.blob[begins] & 0xC0) == 0x80):
            raise ValueError(f"{stem}{OFFSETS_SUFFIX} parts a character of {stem}{BLOB_SUFFIX}")
