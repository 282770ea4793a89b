"""Masks of the labels that a filter allows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.metadata import LabelMetadata, Selection
from astec.server.engine.lru_cache import LruCache

MAX_MASK_BYTES = 64 << 20
"""The most memory for masks in each worker; a mask takes a byte per label."""

_MAX_MASKS = 1024


class LabelMasks:
    """The masks of selections; the masks used last are cached. Belongs to one thread.

    Args:
        metadata: The metadata of the labels.
    """

    def __init__(self, metadata: LabelMetadata) -> None:
        self._metadata = metadata
        capacity = min(_MAX_MASKS, max(1, MAX_MASK_BYTES // metadata.num_labels))
        self._masks = LruCache[Selection, NDArray[np.bool_]](capacity)

    def mask_of(self, selection: Selection | None) -> NDArray[np.bool_] | None:
        """Return whether each label is allowed, bool [L]; None: all labels are."""
        if selection is None:
            return None
        mask_L = self._masks.get(selection)
        if mask_L is None:
            mask_L = self._metadata.select(selection)
            self._masks.put(selection, mask_L)
        return mask_L
