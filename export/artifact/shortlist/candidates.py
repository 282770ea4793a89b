"""The candidate labels of a batch of queries, before and after they are compared with their queries.

Shapes: B queries, C candidates of all queries together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shortlist(NamedTuple):
    """Distinct candidate labels of each query: query b owns `[offsets[b] : offsets[b + 1]]`.

    Shapes: `labels` int32 [C], `votes` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    votes: NDArray[np.float32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """A shortlist, with the similarity of each label to its query.

    Shapes: `labels` int32 [C], `similarities` and `votes` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    similarities: NDArray[np.float32]
    votes: NDArray[np.float32]
    offsets: NDArray[np.int64]
