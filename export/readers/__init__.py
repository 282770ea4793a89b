"""Readers of texts and labels, for training, evaluation and offline scoring."""

from export.readers.dataset import Dataset
from export.readers.errors import BadLinesError, DataError
from export.readers.folder import Split
from export.readers.opening import open_dataset
from export.readers.queries import open_queries
from export.readers.row import Row

__all__ = ["BadLinesError", "DataError", "Dataset", "Row", "Split", "open_dataset", "open_queries"]
