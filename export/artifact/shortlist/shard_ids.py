"""The ids that a shard's labels and training points have in the whole model, by which answers of shards are merged.

Shapes: L labels of the shard, N training points of the shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES
from astec.export.artifact.manifest import Manifest
from astec.export.artifact.storage.checked_arrays import open_array, open_finite, require

SHARD_LABELS_FILE = "shard.labels.npy"
SHARD_POINTS_FILE = "shard.points.npy"
SHARD_POINT_WEIGHTS_FILE = "shard.point_weights.npy"


@dataclass(frozen=True, slots=True)
class ShardIds:
    """Ids in the whole model, ascending.

    Shapes: `labels` int64 [L]; `points` int64 [N], [0] without an index over training points; `heaviest`, the weight
    that the heaviest label of each point has in the whole model, float32 [N], or [0] where labels have no weights.
    """

    labels: NDArray[np.int64]
    points: NDArray[np.int64]
    heaviest: NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> ShardIds:
        """Map the ids of a shard.

        Raises:
            ValueError: a file has another type or shape, ids do not ascend from 0 or more, or a weight is not above 0.
        """
        sizes = manifest.dimensions
        num_points = 0 if manifest.points is None else sizes.num_points
        labels = open_array(folder, SHARD_LABELS_FILE, np.int64, (sizes.num_labels,))
        points = open_array(folder, SHARD_POINTS_FILE, np.int64, (num_points,))
        for name, ids in ((SHARD_LABELS_FILE, labels), (SHARD_POINTS_FILE, points)):
            ascends = not len(ids) or (ids[0] >= 0 and not np.any(ids[1:] <= ids[:-1]))
            require(bool(ascends), f"{name} does not ascend from 0 or more")
        heaviest = NO_SCALES
        if manifest.point_weights:
            heaviest = open_finite(folder, SHARD_POINT_WEIGHTS_FILE, num_points)
            require(not np.any(heaviest <= 0), f"{SHARD_POINT_WEIGHTS_FILE} holds a weight that is not above 0")
        return cls(labels, points, heaviest)

    def save(self, folder: Path) -> None:
        """Write the files that `open` reads."""
        np.save(folder / SHARD_LABELS_FILE, self.labels)
        np.save(folder / SHARD_POINTS_FILE, self.points)
        if len(self.heaviest):
            np.save(folder / SHARD_POINT_WEIGHTS_FILE, self.heaviest)
