"""The links of a hierarchical navigable small world graph, in arrays.

Shapes: N nodes, M links of a node at most (2m at the lowest level, m above it), U upper nodes, R their lists of links.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_LINK = -1
"""The filler of a list that is not full."""


@dataclass(frozen=True, slots=True)
class HnswGraph:
    """The links between nodes, level by level.

    Few nodes are in the upper levels. These are numbered on their own, in the order of their ids, and the links between
    them hold these numbers.

    Attributes:
        links: of each node at the lowest level, ids int32 [N, 2m].
        upper_nodes: ids of the nodes in the upper levels and of the entry, which may be in none, int32 [U].
        upper_bounds: upper node u has the lists [upper_bounds[u] : upper_bounds[u + 1]], one for each level, the lowest
            first; int32 [U + 1].
        upper_links: these lists, numbers of upper nodes, int32 [R, m].
        entry: the number of the upper node where every search begins.
    """

    links: NDArray[np.int32]
    upper_nodes: NDArray[np.int32]
    upper_bounds: NDArray[np.int32]
    upper_links: NDArray[np.int32]
    entry: int

    def require_sound(self) -> None:
        """Verify every number, so that no search reads outside of the arrays.

        Raises:
            ValueError: a link, a node number, a bound or the entry is out of range.
        """
        num_upper, num_lists = len(self.upper_nodes), len(self.upper_links)
        _require_within("a link", self.links, NO_LINK, len(self.links))
        _require_within("an upper node", self.upper_nodes, 0, len(self.links))
        _require_within("a link of an upper level", self.upper_links, NO_LINK, num_upper)
        _require_within("the entry", np.array([self.entry]), 0, num_upper)
        levels_U = self.upper_bounds[1:] - self.upper_bounds[:-1]
        first, last = int(self.upper_bounds[0]), int(self.upper_bounds[-1])
        # Compare, do not subtract: the difference of two 32-bit numbers may overflow.
        if first != 0 or last != num_lists or (self.upper_bounds[1:] < self.upper_bounds[:-1]).any():
            raise ValueError(f"bounds of upper lists do not ascend from 0 to {num_lists}")
        level_R = np.arange(num_lists) - np.repeat(self.upper_bounds[:-1], levels_U)
        # NO_LINK (-1) indexes the last node, which may be in no upper level; the second condition leaves it out.
        too_low_RM = (levels_U[self.upper_links] <= level_R[:, None]) & (self.upper_links != NO_LINK)
        if too_low_RM.any():
            raise ValueError("a link of an upper level leads to a node that is not in it")


def _require_within(what: str, numbers: NDArray[np.int32] | NDArray[np.int64], least: int, count: int) -> None:
    if numbers.size:
        lowest, highest = int(numbers.min()), int(numbers.max())
        if lowest < least or highest >= count:
            raise ValueError(f"{what} is {lowest if lowest < least else highest}, of {count}")
