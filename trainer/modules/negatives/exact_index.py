"""Exact nearest neighbours by matrix products in blocks (paper, section 3.2, does so on a GPU).

Shapes: B queries, b of a block, D dimensions, M indexed vectors, m of a block, K neighbours, C candidates.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from astec.trainer.modules.negatives.best_hits import BestHits, best_of
from astec.trainer.numerics.device import product_dtype, to_device

_CPU_BLOCK = 1 << 12  # the similarities of a block to so few queries stay in the CPU's caches until they are read
_CPU_QUERIES = 1 << 9
_DEVICE_BLOCK = 1 << 17


class ExactIndex:
    """A `NeighbourIndex` that compares all vectors. Thread-safe: products take turns, as one fills the device.

    Where the hardware multiplies shorter numbers much faster (float16 on a GPU, bfloat16 on some CPUs), the candidates
    are found with those, a few more than asked for, and their similarities computed anew in float32: only vectors that
    are nearly as similar as the last hit can be missed.

    Args:
        units_MD: the indexed vectors, with unit rows.
        device: where they are searched.
    """

    def __init__(self, units_MD: NDArray[np.float32], device: torch.device) -> None:
        self.count = len(units_MD)
        on_cpu = device.type == "cpu"
        self._units_MD = torch.from_numpy(units_MD) if on_cpu else to_device(units_MD, device)
        # Similarities lie in [-1, 1], where float16 has eight times the precision of bfloat16.
        self._short_MD = self._units_MD.to(product_dtype("auto", device) if on_cpu else torch.float16)
        self._lock = Lock()

    @torch.no_grad()
    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and cosine similarities [B, min(k, M)], nearest first, as `NeighbourIndex.search` does."""
        k = min(k, self.count)
        if queries_BD.shape[1] != self._units_MD.shape[1]:
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index {self._units_MD.shape[1]}")
        if self._units_MD.device.type == "cpu":
            return self._search_on_cpu(functional.normalize(torch.from_numpy(queries_BD)), k)
        with self._lock:
            queries = functional.normalize(to_device(queries_BD, self._units_MD.device))
            similarities_BK, ids_BK = self._search_on_device(queries, k)
            return ids_BK.cpu().numpy(), similarities_BK.cpu().numpy()

    def _num_kept(self, k: int) -> int:
        """Return how many candidates are kept for k hits."""
        exact = self._short_MD.dtype == self._units_MD.dtype
        return k if exact else min(k + k // 4 + 32, self.count)

    def _search_on_cpu(self, queries_BD: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search in blocks; while one thread multiplies, on all cores, others sort out their hits."""
        hits, ids_M = BestHits(len(queries_BD), self._num_kept(k)), np.arange(self.count)
        short_BD = queries_BD.to(self._short_MD.dtype)
        for first in range(0, len(queries_BD), _CPU_QUERIES):
            queries_bD = short_BD[first : first + _CPU_QUERIES]
            rows_b = np.arange(first, first + len(queries_bD))
            for begin in range(0, self.count, _CPU_BLOCK):
                with self._lock:
                    similarities_bm = queries_bD @ self._short_MD[begin : begin + _CPU_BLOCK].T
                hits.add(similarities_bm.float().numpy(), rows_b, ids_M[begin : begin + _CPU_BLOCK])
        ids_BC, similarities_BC = hits.sorted()
        if ids_BC.shape[1] == k:
            return ids_BC, similarities_BC
        return best_of(ids_BC, queries_BD.numpy(), self._units_MD.numpy(), k)

    def _search_on_device(self, queries_BD: Tensor, k: int) -> tuple[Tensor, Tensor]:
        num_kept, short_BD = self._num_kept(k), queries_BD.to(self._short_MD.dtype)
        best_BC = short_BD.new_empty((len(queries_BD), 0))
        ids_BC = best_BC.long()
        for begin in range(0, self.count, _DEVICE_BLOCK):
            similarities_Bm = short_BD @ self._short_MD[begin : begin + _DEVICE_BLOCK].T
            block_BC, positions_BC = similarities_Bm.topk(min(num_kept, similarities_Bm.shape[1]))
            found_BC, found_ids_BC = torch.cat([best_BC, block_BC], 1), torch.cat([ids_BC, positions_BC + begin], 1)
            best_BC, order_BC = found_BC.topk(min(num_kept, found_BC.shape[1]))
            ids_BC = found_ids_BC.gather(1, order_BC)
        exact_BC = torch.einsum("bd,bcd->bc", queries_BD, self._units_MD[ids_BC])
        best_BK, order_BK = exact_BC.topk(k)
        return best_BK, ids_BC.gather(1, order_BK)
