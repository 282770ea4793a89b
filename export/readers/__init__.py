"""Readers of texts and labels, for training, evaluation and offline scoring."""

from astec.export.readers.dataset import Dataset
from astec.export.readers.errors import BadLinesError, DataError
from astec.export.readers.opening import open_dataset
from astec.export.readers.queries import open_queries
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.row import Row
from astec.export.readers.split_file import Split

__all__ = [
    "AS_FOUND",
    "BadLinesError",
    "DataError",
    "Dataset",
    "ReadOptions",
    "Row",
    "Split",
    "open_dataset",
    "open_queries",
]
