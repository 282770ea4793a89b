"""The labels that an update adds and removes, checked against the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_ids import LabelIds
from astec.export.artifact.store import Artifact
from astec.export.packing.removed_labels import find_all, quoted


class LabelChanges(NamedTuple):
    """The changes of an update.

    Attributes:
        added: the texts of labels that the artifact does not have.
        restored: the ids of labels that an earlier update removed and this one adds again, int64; they come back with
            the weights that they had.
        removed: the ids of labels that no answer shall name any more, int64.
    """

    added: list[str]
    restored: NDArray[np.int64]
    removed: NDArray[np.int64]

    @classmethod
    def check(cls, artifact: Artifact, add: Sequence[str] | None, remove: Sequence[str] | None) -> LabelChanges:
        """Find the labels of an update in the artifact; None: no such labels are given.

        Raises:
            ValueError: a label to add is there already, a label to remove is not, one is to be both, there is none
                although a file is given, or none would be left.
        """
        ids, nothing = LabelIds(artifact.labels), np.empty(0, np.int64)
        gone_L = np.zeros(len(artifact.labels), np.bool_) if artifact.removed is None else artifact.removed != 0
        both = set(add or ()) & set(remove or ())
        if both:
            raise ValueError(
                f"{len(both)} labels are to be added and removed: {quoted(sorted(both))}; take them out of one file"
            )
        added, restored, removed = list[str](), nothing, nothing
        if add is not None:
            added, restored = _to_add(ids, gone_L, list(dict.fromkeys(add)))
        if remove is not None:
            texts = list(dict.fromkeys(remove))
            removed = find_all(ids, texts, "remove", "the artifact")
            again = [artifact.labels[label] for label in removed[gone_L[removed]].tolist()]
            if again:
                raise ValueError(
                    f"{len(again)} of {len(texts)} labels to remove were removed by an earlier update: "
                    f"{quoted(again)}; take them out of the file"
                )
        left = len(gone_L) - int(gone_L.sum()) + len(added) + len(restored) - len(removed)
        if left < 1:
            raise ValueError(f"all {len(removed)} labels of the artifact are to be removed; leave one at least")
        return cls(added, restored, removed)


def _to_add(ids: LabelIds, gone_L: NDArray[np.bool_], texts: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the labels that are new, and the ids of those that were removed."""
    if not texts:
        raise ValueError("there is no label to add: the file has none; write one a line, or leave the file out")
    found = ids.find(texts)
    present = [ids.labels[label] for label in found.ids[~gone_L[found.ids]].tolist()]
    if present:
        raise ValueError(
            f"{len(present)} of {len(texts)} labels to add are labels of the artifact already: {quoted(present)}; "
            "take them out of the file"
        )
    return found.unknown, found.ids
