"""Exact nearest neighbours by matrix products: on a GPU faster than any graph (paper, section 3.2).

Shapes: B queries, D dimensions, M indexed vectors, m of a block, K neighbours.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.trainer.numerics.device import to_device

_BLOCK_VECTORS = 1 << 17  # a call holds this many similarities of each query in memory at a time


class ExactIndex:
    """A `NeighbourIndex` that misses nothing. Thread-safe: calls run one after another, since one fills the device.

    Args:
        vectors_MD: the indexed vectors, with unit rows.
        device: where the vectors are stored.
    """

    def __init__(self, vectors_MD: NDArray[np.float32], device: torch.device) -> None:
        self.count = len(vectors_MD)
        self._vectors_MD = to_device(vectors_MD, device)
        self._lock = Lock()

    @torch.no_grad()
    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and cosine similarities [B, min(k, M)], nearest first, as `NeighbourIndex.search` does."""
        k = min(k, self.count)
        with self._lock:
            queries = torch.nn.functional.normalize(to_device(queries_BD, self._vectors_MD.device))
            best_BK, ids_BK = queries.new_empty((len(queries), 0)), queries.new_empty((len(queries), 0)).long()
            for begin in range(0, self.count, _BLOCK_VECTORS):
                best_BK, ids_BK = self._merge(queries, begin, best_BK, ids_BK, k)
            return ids_BK.cpu().numpy(), best_BK.cpu().numpy()

    def _merge(self, queries_BD: Tensor, begin: int, best_BK: Tensor, ids_BK: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best of the best so far and of the block that starts at `begin`."""
        similarities_Bm = queries_BD @ self._vectors_MD[begin : begin + _BLOCK_VECTORS].T
        block_BK, positions_BK = similarities_Bm.topk(min(k, similarities_Bm.shape[1]))
        candidates, ids = torch.cat([best_BK, block_BK], 1), torch.cat([ids_BK, positions_BK + begin], 1)
        best, order = candidates.topk(min(k, candidates.shape[1]))
        return best, ids.gather(1, order)
