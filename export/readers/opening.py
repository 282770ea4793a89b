"""From a path to the dataset that reads it."""

from __future__ import annotations

from pathlib import Path

from astec.export.readers.dataset import Dataset
from astec.export.readers.detection import detect_rows_format
from astec.export.readers.folder import Split, find_file
from astec.export.readers.npy import NpyDataset, is_npy
from astec.export.readers.text import TextDataset
from astec.export.readers.xc import NewXcDataset, OldXcDataset


def open_dataset(path: Path, split: Split) -> Dataset:
    """Find the rows of a file, or of a folder's training or test file.

    Args:
        path: a file, read whatever the split, or a folder with files such as `train.jsonl.gz`, `trn_X_Xf.txt` or
            `train.npy`.
        split: which file of a folder.

    Raises:
        DataError: nothing, or nothing unambiguous, to read; an empty file or one in no known format; a sparse file
            with a bad header, or one of a pair without its other half.
    """
    file = find_file(path, split) if path.is_dir() else path
    if is_npy(file):
        return NpyDataset(file)
    name = detect_rows_format(file)
    if name == "xc-old":
        return OldXcDataset(file)
    if name == "xc-new":
        return NewXcDataset(file)
    return TextDataset(file, name)
