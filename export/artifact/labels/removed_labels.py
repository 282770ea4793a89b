"""The labels that updates have taken out of a model: no answer names them until a full export leaves them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.storage.checked_arrays import open_label_ids, require

REMOVED_LABELS_FILE = "removed_labels.npy"


def save_removed_labels(folder: Path, ids: NDArray[np.int32]) -> None:
    """Write the ids of the removed labels, ascending."""
    np.save(folder / REMOVED_LABELS_FILE, ids)


def open_removed_labels(folder: Path, count: int, num_labels: int) -> NDArray[np.int32]:
    """Map the ids of `count` removed labels.

    Raises:
        ValueError: the file has another type or length, an id is out of range, or the ids do not ascend.
    """
    ids = open_label_ids(folder, REMOVED_LABELS_FILE, count, num_labels)
    require(bool((ids[1:] > ids[:-1]).all()), f"{REMOVED_LABELS_FILE} does not ascend")
    return ids
