"""Opening a data set: a path in, the dataset that reads it out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from astec.export.readers.columns.opening import open_table
from astec.export.readers.columns.table_dataset import TableDataset
from astec.export.readers.columns.xc_text import XcTextDataset, is_xc_text
from astec.export.readers.dataset import Dataset
from astec.export.readers.detection import detect_rows_format
from astec.export.readers.errors import DataError
from astec.export.readers.formats.npy import NpyDataset, is_npy
from astec.export.readers.formats.parts import PartsDataset
from astec.export.readers.formats.text_lines import TextDataset
from astec.export.readers.formats.xc import NewXcDataset, OldXcDataset
from astec.export.readers.places.part_files import part_files
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.split_file import Split, find_file
from astec.export.readers.streams.stored_file import named_input


def open_dataset(path: Path, split: Split, options: ReadOptions = AS_FOUND) -> Dataset:
    """Open the rows of a file, or of the training, validation or test file of a folder.

    Args:
        path: a file or a pipe (`-` for stdin), a folder with files such as `train.jsonl.gz`, `trn_X_Xf.txt` or
            `train.npy`, or a folder of parts such as `part-0.parquet`.
        split: the file to read where `path` is a folder; ignored where it is a file or a folder of parts.
        options: what the user says about the files.

    Raises:
        DataError: the folder has no file of the split or several; the file is empty or in no known format; a sparse
            file has a bad header, or the second file of a pair is missing; a column of a table is missing.
    """
    try:
        place = find_file(path, split) if path.is_dir() else named_input(path)
    except OSError as error:
        remedy = "Pass a file or folder that exists and may be read"
        raise DataError(path, None, f"cannot be read ({error.strerror})", remedy) from None
    return _open_parts(place, options) if place.is_dir() else _open_file(place, options)


def _open_parts(folder: Path, options: ReadOptions) -> Dataset:
    paths = part_files(folder)
    if table := open_table(paths[0], options):
        return TableDataset(paths, table, options)
    open_part = partial(_open_file, options=options)
    return PartsDataset(paths, open_part(paths[0]), open_part)


def _open_file(path: Path, options: ReadOptions) -> Dataset:
    if is_npy(path):
        return NpyDataset(path, options)
    if table := open_table(path, options):
        return TableDataset([path], table, options)
    name = detect_rows_format(path, options.encoding)
    if name == "xc-old":
        return OldXcDataset(path, options.encoding)
    if name == "xc-new":
        return NewXcDataset(path, options.encoding)
    if name == "jsonl" and is_xc_text(path, options.encoding):
        return XcTextDataset(path, options.encoding)
    return TextDataset(path, name, options)
