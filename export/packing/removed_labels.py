"""Removing labels from a finished run, as if they had never been in its log, without training again.

Training points that carry no other label go with them, and so do held-out texts. The encoder and all other labels stay
as they are.

Shapes: L labels, K labels kept, N training points, R held-out or reference texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.labels.label_ids import LabelIds
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference

_QUOTED_LABELS, _QUOTED_CHARS = 5, 60


def remove_labels(checkpoint: Checkpoint, given: Iterable[str]) -> Checkpoint:
    """Return the run without some of its labels; a label that is given twice is removed once.

    Raises:
        ValueError: a given label is not one of the run's, there is none to remove, or none would be left.
    """
    removed = find_all(LabelIds(checkpoint.labels), list(dict.fromkeys(given)), "remove", "the run")
    labels = np.setdiff1d(np.arange(len(checkpoint.labels)), removed)
    if not len(labels):
        raise ValueError(f"all {len(checkpoint.labels)} labels of the run are to be removed; leave one at least")
    narrowed = keep_labels(checkpoint, labels).checkpoint
    return replace(narrowed, training=checkpoint.training | {"removed_labels": len(removed)})


class Narrowed(NamedTuple):
    """A run with some of its labels, and the ids in the whole run of its training points, int64."""

    checkpoint: Checkpoint
    points: NDArray[np.int64]


def keep_labels(checkpoint: Checkpoint, labels: NDArray[np.int64]) -> Narrowed:
    """Return the run with these labels alone, one at least, and with the training points that carry one of them.

    Args:
        checkpoint: the whole run.
        labels: ids of labels, ascending; they get the ids 0, 1 and so on.
    """
    kept = _Kept.of(labels, len(checkpoint.labels))
    point_labels, kept_points = kept.sets(checkpoint.point_labels)
    texts, num_features = checkpoint.point_texts, checkpoint.featurizer.num_features
    is_kept_L = kept.new_ids >= 0
    of_kept = is_kept_L[checkpoint.centroid_labels]
    narrowed = replace(
        checkpoint,
        labels=checkpoint.labels.take(kept.labels),
        label_counts=checkpoint.label_counts[kept.labels],
        model=kept.dense(checkpoint.model),
        reranker=None if checkpoint.reranker is None else kept.dense(checkpoint.reranker),
        sparse=kept.sparse(checkpoint.sparse, num_features),
        centroids=checkpoint.centroids[of_kept],
        centroid_labels=kept.new_ids[checkpoint.centroid_labels[of_kept]],
        points=checkpoint.points[kept_points],
        point_labels=point_labels,
        point_texts=None if texts is None else texts.take(kept_points),
        reference=_reference(checkpoint, kept),
        held_out=_held_out(checkpoint, kept, kept_points),
    )
    return Narrowed(narrowed, kept_points)


def find_all(ids: LabelIds, texts: Sequence[str], change: str, model: str) -> NDArray[np.int64]:
    """Return the ids of labels that are to be changed; there must be one at least, and every one of them.

    Raises:
        ValueError: there is none, or one is not a label of the model; the message names some.
    """
    if not texts:
        raise ValueError(f"there is no label to {change}: the file has none; write one a line, or leave the file out")
    found = ids.find(texts)
    if found.unknown:
        raise ValueError(
            f"{len(found.unknown)} of {len(texts)} labels to {change} are not labels of {model}: "
            f"{quoted(found.unknown)}; write them as in training, or take them out of the file"
        )
    return found.ids


def quoted(texts: Sequence[str]) -> str:
    """Return the first few texts, in quotes."""
    some = ", ".join(repr(text[:_QUOTED_CHARS]) for text in texts[:_QUOTED_LABELS])
    return some if len(texts) <= _QUOTED_LABELS else f"{some}, ..."


class _Kept(NamedTuple):
    """The labels that are kept: their old ids, int64 [K], and the new id of each label, int32 [L], -1 if removed."""

    labels: NDArray[np.int64]
    new_ids: NDArray[np.int32]

    @classmethod
    def of(cls, labels: NDArray[np.int64], num_labels: int) -> _Kept:
        new_ids_L = np.full(num_labels, -1, np.int32)
        new_ids_L[labels] = np.arange(len(labels), dtype=np.int32)
        return cls(labels, new_ids_L)

    def sets(self, sets: LabelSets) -> tuple[LabelSets, NDArray[np.int64]]:
        """Return the label sets without the removed labels, and which things these belong to: those with a label."""
        ids = self.new_ids[sets.indices]
        owners = np.repeat(np.arange(len(sets)), np.diff(sets.indptr))[ids >= 0]
        counts = np.bincount(owners, minlength=len(sets))
        things = np.flatnonzero(counts)
        indptr = np.concatenate([[0], np.cumsum(counts[things])]).astype(np.int64)
        weights = sets.weights[ids >= 0] if len(sets.weights) else sets.weights
        return LabelSets(indptr, ids[ids >= 0], weights), things

    def dense(self, model: DenseArrays) -> DenseArrays:
        return replace(model, classifier=model.classifier[self.labels], bias=model.bias[self.labels])

    def sparse(self, sparse: SparseClassifier | None, num_features: int) -> SparseClassifier | None:
        if sparse is None:
            return None
        bounds, indices, values = sparse.by_label()
        positions, indptr = take_rows(bounds, self.labels)
        return SparseClassifier.build(
            indptr, indices[positions], values[positions], sparse.bias[self.labels], num_features
        )


def _reference(checkpoint: Checkpoint, kept: _Kept) -> Reference:
    """Put a kept label in the place of each removed one, with the logit that its weights give."""
    reference, model = checkpoint.reference, checkpoint.model
    labels_RK = kept.new_ids[reference.labels]
    first = kept.labels[0]
    logits_R1 = (reference.x_hat @ model.classifier[first] + model.bias[first])[:, None]
    return replace(
        reference,
        labels=np.maximum(labels_RK, 0),
        logits=np.where(labels_RK >= 0, reference.logits, logits_R1).astype(np.float32),
    )


def _held_out(checkpoint: Checkpoint, kept: _Kept, kept_points: NDArray[np.int64]) -> HeldOutTexts:
    """Return the held-out texts that still have a label."""
    held_out, num_features = checkpoint.held_out, checkpoint.featurizer.num_features
    labels, rows = kept.sets(held_out.labels)
    positions_N = np.full(len(checkpoint.points), -1, np.int64)
    positions_N[kept_points] = np.arange(len(kept_points))
    points = positions_N[held_out.points]
    of_kept = kept.new_ids[held_out.centroid_labels] >= 0
    return replace(
        held_out,
        bags=held_out.bags.take(rows),
        sequences=None if held_out.sequences is None else held_out.sequences.take(rows),
        v=held_out.v[rows],
        x_hat=held_out.x_hat[rows],
        x_tilde=held_out.x_tilde[rows],
        labels=labels,
        points=points[points >= 0],
        centroids=held_out.centroids[of_kept],
        centroid_labels=kept.new_ids[held_out.centroid_labels[of_kept]],
        sparse=kept.sparse(held_out.sparse, num_features),
    )
