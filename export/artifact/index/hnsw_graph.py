"""The links of a hierarchical navigable small world graph, in arrays.

Shapes: N nodes, M links of a node at most (2m at the lowest level, m above it), U upper nodes, R their lists of links.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_LINK = -1
"""What fills a list that is not full, from its first free place on."""


@dataclass(frozen=True, slots=True)
class HnswGraph:
    """Who is linked with whom, level by level.

    Few nodes are in the upper levels. These have numbers of their own, in the order of their ids, and know each other
    by them.

    Attributes:
        links: of each node at the lowest level, ids int32 [N, 2m].
        upper_nodes: ids of the nodes in the upper levels and of the entry, which may be in none, int32 [U].
        upper_bounds: upper node u has the lists [upper_bounds[u] : upper_bounds[u + 1]], one a level, the lowest first;
            int32 [U + 1].
        upper_links: these lists, numbers of upper nodes, int32 [R, m].
        entry: number of the upper node where every walk begins.
    """

    links: NDArray[np.int32]
    upper_nodes: NDArray[np.int32]
    upper_bounds: NDArray[np.int32]
    upper_links: NDArray[np.int32]
    entry: int

    def require_sound(self) -> None:
        """Look at every number, so that no walk leaves the arrays.

        Raises:
            ValueError: a node, a list or the entry is not where the graph says it is.
        """
        num_upper, num_lists = len(self.upper_nodes), len(self.upper_links)
        _require_within("a link", self.links, NO_LINK, len(self.links))
        _require_within("an upper node", self.upper_nodes, 0, len(self.links))
        _require_within("a link of an upper level", self.upper_links, NO_LINK, num_upper)
        _require_within("the entry", np.array([self.entry]), 0, num_upper)
        levels_U = self.upper_bounds[1:] - self.upper_bounds[:-1]
        first, last = int(self.upper_bounds[0]), int(self.upper_bounds[-1])
        # Compared, not subtracted: differences of any 32 bits may overflow into the range.
        if first != 0 or last != num_lists or (self.upper_bounds[1:] < self.upper_bounds[:-1]).any():
            raise ValueError(f"bounds of upper lists do not ascend from 0 to {num_lists}")
        level_R = np.arange(num_lists) - np.repeat(self.upper_bounds[:-1], levels_U)
        # Free places are read as the last node's, which may be in no upper level, and then left out.
        too_low_RM = (levels_U[self.upper_links] <= level_R[:, None]) & (self.upper_links != NO_LINK)
        if too_low_RM.any():
            raise ValueError("a link of an upper level leads to a node that is not in it")


def _require_within(what: str, numbers: NDArray[np.int32] | NDArray[np.int64], least: int, count: int) -> None:
    if numbers.size:
        lowest, highest = int(numbers.min()), int(numbers.max())
        if lowest < least or highest >= count:
            raise ValueError(f"{what} is {lowest if lowest < least else highest}, of {count}")
