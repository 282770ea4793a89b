"""Opening a data set: a path in, the dataset that reads it out."""

from __future__ import annotations

from pathlib import Path

from astec.export.readers.dataset import Dataset
from astec.export.readers.detection import detect_rows_format
from astec.export.readers.formats.npy import NpyDataset, is_npy
from astec.export.readers.formats.text_lines import TextDataset
from astec.export.readers.formats.xc import NewXcDataset, OldXcDataset
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.split_file import Split, find_file
from astec.export.readers.streams.stored_file import named_input


def open_dataset(path: Path, split: Split, options: ReadOptions = AS_FOUND) -> Dataset:
    """Open the rows of a file, or of the training, validation or test file of a folder.

    Args:
        path: a file or a pipe (`-` for stdin), or a folder with files such as `train.jsonl.gz`, `trn_X_Xf.txt` or
            `train.npy`.
        split: the file to read where `path` is a folder; ignored where it is a file.
        options: what the user says about the files.

    Raises:
        DataError: the folder has no file of the split or several; the file is empty or in no known format; a sparse
            file has a bad header, or the second file of a pair is missing.
    """
    file = find_file(path, split) if path.is_dir() else named_input(path)
    if is_npy(file):
        return NpyDataset(file, options)
    name = detect_rows_format(file, options.encoding)
    if name == "xc-old":
        return OldXcDataset(file, options.encoding)
    if name == "xc-new":
        return NewXcDataset(file, options.encoding)
    return TextDataset(file, name, options)
