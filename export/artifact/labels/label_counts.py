"""The number of training texts of each label, from which propensities are computed.

Shapes: L labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.storage.checked_arrays import open_array

LABEL_COUNTS_FILE = "label_counts.npy"


def save_label_counts(folder: Path, counts_L: NDArray[np.int64]) -> None:
    """Write the counts, int64 [L]."""
    np.save(folder / LABEL_COUNTS_FILE, counts_L)


def open_label_counts(folder: Path, num_labels: int) -> NDArray[np.int64]:
    """Map the counts, int64 [L]; raises ValueError if they have another type or number."""
    return open_array(folder, LABEL_COUNTS_FILE, np.int64, (num_labels,))
