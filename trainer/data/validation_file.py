"""Rows that are held out by their place: a folder's `valid.*`, or the last rows of the training file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astec.export.readers import AS_FOUND, DataError, Dataset, ReadOptions, open_dataset
from astec.export.readers.split_file import has_file
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import last_rows
from astec.trainer.settings.config import ValidationSection

_FEWEST_ROWS_BY_TIME = 10


def open_validation_file(data: Path, section: ValidationSection, reading: ReadOptions = AS_FOUND) -> Dataset | None:
    """Open the `valid.*` of a data folder; None where the settings hold out rows of the training file.

    Raises:
        DataError: `validation.split` is file and there is no such file; there are several; or it has no known format.
    """
    if section.split not in ("auto", "file"):
        return None
    if data.is_dir() and (section.split == "file" or has_file(data, "valid")):
        return open_dataset(data, "valid", reading)
    if section.split == "file":
        problem = "is no folder, and validation.split file holds out the valid.* of a folder"
        raise DataError(data, None, problem, "Pass the folder of the file, or set validation.split=auto")
    return None


def require_same_form(train: Dataset, valid: Dataset) -> None:
    """Check that the validation file's queries can be read like the training file's.

    Raises:
        DataError: one has texts and the other features, or they have different numbers of features.
    """
    if valid.num_features != train.num_features:
        problem = f"has {_form(valid)}, and {train.paths[0].name} has {_form(train)}"
        raise DataError(valid.paths[0], None, problem, "Make both files in the same way")


def require_held_rows(data: TrainingData, section: ValidationSection, path: Path) -> None:
    """Check that rows which are held out by their place suffice to judge by; rows that are drawn always do.

    Args:
        data: the loaded data.
        section: the settings of the split.
        path: the file that holds the rows to be held out.

    Raises:
        DataError: too few rows for a split by time, or no held-out row has a label that is learnt.
    """
    by_time = section.split == "time"
    if by_time and data.num_texts < _FEWEST_ROWS_BY_TIME:
        problem = (
            f"has {data.num_texts} rows with a label, and validation.split time needs at least {_FEWEST_ROWS_BY_TIME}"
        )
        raise DataError(path, None, problem, "Bring more rows, or set validation.split=rows")
    if not by_time and not data.num_valid_texts:
        return
    held = last_rows(data, section)
    if not np.any(data.label_counts(held)[data.examples.labels[held].indices]):
        what = "an earlier row" if by_time else "the training file"
        rows = f"none of its last {len(held):,} rows" if by_time else f"none of its {len(held):,} rows"
        cause = "A file that is sorted by label has no order in time" if by_time else "Bring rows of the same labels"
        remedy = f"{cause}; or set validation.split=texts"
        raise DataError(path, None, f"{rows} has a label that occurs in {what}, so nothing can be judged", remedy)


def _form(dataset: Dataset) -> str:
    return "texts" if dataset.num_features is None else f"{dataset.num_features:,} features"
