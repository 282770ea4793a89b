"""Masks of the labels that a request may be answered with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.metadata import LabelMetadata, Selection
from astec.server.engine.lru_cache import LruCache

MAX_MASK_BYTES = 64 << 20
"""Of memory for what selections allow, a byte for each label; in every worker."""

_MAX_MASKS = 1024


class LabelMasks:
    """What selections allow, of which those that were used last are kept. Belongs to one thread.

    Args:
        metadata: Of the labels.
    """

    def __init__(self, metadata: LabelMetadata) -> None:
        self._metadata = metadata
        capacity = min(_MAX_MASKS, max(1, MAX_MASK_BYTES // metadata.num_labels))
        self._masks = LruCache[Selection, NDArray[np.bool_]](capacity)

    def mask_of(self, selection: Selection | None) -> NDArray[np.bool_] | None:
        """Return whether each label may be answered, bool [L]; None: every one."""
        if selection is None:
            return None
        mask_L = self._masks.get(selection)
        if mask_L is None:
            mask_L = self._metadata.select(selection)
            self._masks.put(selection, mask_L)
        return mask_L
