"""The shortlist of a query that may be answered with some labels only, narrowed before any label is scored.

Shapes: B queries, d dimensions of the indices, L labels, F candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Shortlist
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.artifact.shortlist.votes import keep_best

_WIDER = 16
"""How many times as many neighbours are looked at for a query that need not compare all allowed labels."""


class Allowed(NamedTuple):
    """The labels that a query may be answered with: `mask` bool [L] (None: all), of which it needs `top_k`.

    Where too few are near: `compares_all` puts all allowed labels on the shortlist at once. Else, for labels that no
    answer may name, the shortlist of a query without a mask comes first, less those labels. Only where that has too few
    do the labels of 16 times as many neighbours come, which for many labels takes a fraction of the time.
    """

    mask: NDArray[np.bool_] | None
    top_k: int
    compares_all: bool = True


def shortlist_allowed(shortlister: Shortlister, z_Bd: NDArray[np.float32], allowed: Sequence[Allowed]) -> Shortlist:
    """Return the allowed labels of each query's shortlist; without a mask, the same as `Shortlister.shortlist`.

    A mask drops the labels that it does not allow; the others keep their votes. Of too many labels, the
    `max_candidates` with the highest votes are kept, but never fewer than `top_k`; the labels dropped before, if not
    `compares_all`, count among these as long as `top_k` others are left. Where fewer than `top_k` labels
    remain, labels farther away or all allowed labels are put on the shortlist (see `Allowed`), with a vote of 0 where
    no neighbour carries them. So an answer has `top_k` labels wherever as many are allowed. Memory: 8 bytes for each
    label on the shortlist.
    """
    near = shortlister.nearby(z_Bd)
    limit = len(near.labels) if shortlister.max_candidates is None else shortlister.max_candidates
    parts: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
    for query, (mask, top_k, compares_all) in enumerate(allowed):
        found = slice(near.offsets[query], near.offsets[query + 1])
        labels_F, votes_F = near.labels[found], near.votes[found]
        if mask is not None and not compares_all:
            unmasked = _allowed_of_unmasked(labels_F, votes_F, mask, limit)
            if len(unmasked[0]) >= top_k:
                parts.append(unmasked)
                continue
        if mask is not None:
            is_allowed_F = mask[labels_F]
            labels_F, votes_F = labels_F[is_allowed_F], votes_F[is_allowed_F]
        if mask is not None and len(labels_F) < top_k and z_Bd[query].any():
            farther = labels_F if compares_all else shortlister.nearby(z_Bd[query : query + 1], _WIDER).labels
            farther = np.unique(farther[mask[farther]])
            if len(farther) < top_k:
                farther = np.flatnonzero(mask).astype(np.int32)
            parts.append((farther, _votes_of(farther, labels_F, votes_F)))
            continue
        most = limit if mask is None else max(limit, top_k)
        kept = keep_best(labels_F, votes_F, most) if len(labels_F) > most else len(labels_F)
        parts.append((labels_F[:kept], votes_F[:kept]))
    offsets = np.cumsum([0, *(len(labels) for labels, _ in parts)], dtype=np.int64)
    return Shortlist(
        np.concatenate([labels for labels, _ in parts]), np.concatenate([votes for _, votes in parts]), offsets
    )


def _allowed_of_unmasked(
    labels_F: NDArray[np.int32], votes_F: NDArray[np.float32], mask: NDArray[np.bool_], limit: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the allowed ones of the `limit` labels that a query without a mask is answered with, and their votes."""
    if len(labels_F) > limit:
        labels_F, votes_F = labels_F.copy(), votes_F.copy()
        kept = keep_best(labels_F, votes_F, limit)
        labels_F, votes_F = labels_F[:kept], votes_F[:kept]
    is_allowed_F = mask[labels_F]
    return labels_F[is_allowed_F], votes_F[is_allowed_F]


def _votes_of(
    labels: NDArray[np.int32], labels_F: NDArray[np.int32], votes_F: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the votes of labels in ascending order, 0 for those that are not near."""
    votes = np.zeros(len(labels), np.float32)
    near_F = np.isin(labels_F, labels)
    votes[np.searchsorted(labels, labels_F[near_F])] = votes_F[near_F]
    return votes
