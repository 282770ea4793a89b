"""The checkpoint: everything that the trainer passes to the export.

Shapes: V vocabulary, D dimensions (D~ of the re-ranker), H learners, L labels, L' label representatives, N training
points, R reference or held-out texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import Featurizer
from astec.export.artifact.text.words import Sequences
from astec.export.model.front import BAG_OF_EMBEDDINGS, Front


@dataclass(frozen=True, slots=True)
class Reference:
    """The outputs of the trained model for a few held-out texts; the exporter compares its own outputs with them.

    `sequences` are the ids of the texts' tokens in order, where the encoder reads them.

    Shapes: `bags` of R texts, `v` and `x_hat` float32 [R, D], `x_tilde` float32 [R, D~] ([R, 0] without a re-ranker),
    `labels` int32 [R, K], `logits` float32 [R, K].
    """

    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]
    labels: NDArray[np.int32]
    logits: NDArray[np.float32]
    sequences: Sequences | None = None


@dataclass(frozen=True, slots=True)
class HeldOutTexts:
    """The held-out texts as the trained model encodes them; the exporter chooses how to search on them.

    `sequences` are the ids of the texts' tokens in order, where the encoder reads them.

    If the run learnt these texts at the end (a refit), `points` are the training points that they became, and `sparse`,
    `centroids` and `centroid_labels` are those from before the refit; if it did not, these are empty.

    Shapes: `bags` of R texts, `v` and `x_hat` float32 [R, D], `x_tilde` float32 [R, D~] ([R, 0] without a re-ranker),
    `labels` of each; `points` int64 [R] or [0]; `centroids` and `centroid_labels` as in `Checkpoint`, [0, D] and [0].
    """

    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    x_tilde: NDArray[np.float32]
    labels: LabelSets
    points: NDArray[np.int64]
    centroids: NDArray[np.float32]
    centroid_labels: NDArray[np.int32]
    sparse: SparseClassifier | None
    sequences: Sequences | None = None

    def take(self, count: int) -> HeldOutTexts:
        """Return the first `count` texts."""
        indptr = self.labels.indptr[: count + 1]
        return replace(
            self,
            bags=self.bags.take(np.arange(count)),
            sequences=None if self.sequences is None else self.sequences.take(np.arange(count)),
            v=self.v[:count],
            x_hat=self.x_hat[:count],
            x_tilde=self.x_tilde[:count],
            labels=LabelSets(indptr, self.labels.indices[: indptr[-1]]),
        )


@dataclass(frozen=True, slots=True)
class DenseArrays:
    """The learnt arrays of an encoder and its classifiers, with H learners side by side.

    `front` computes v from the embeddings; then x-hat = v + ReLU(R v), where R has one diagonal block for each learner.

    Shapes: `embeddings` [V, D] of tokens, or of the other inputs of the front; `residuals` [H, D / H, D / H],
    `classifier` [L, D], `bias` [L], all float32.
    """

    embeddings: NDArray[np.float32]
    residuals: NDArray[np.float32]
    classifier: NDArray[np.float32]
    bias: NDArray[np.float32]
    front: Front = BAG_OF_EMBEDDINGS

    @property
    def dim(self) -> int:
        """The number of dimensions, D."""
        return int(self.classifier.shape[1])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished training run.

    Attributes:
        shares: the shares of the parts of a score.
        sparse: the sparse term, with the labels' own texts in it.
        centroids: label representatives, unit rows [L', D] in label order, and `centroid_labels`, the label of each.
        points: training points, unit rows [N, D], and `point_labels`, the labels of each.
        centroid_neighbours, point_neighbours: numbers of hits among either with which the shares were chosen.
        point_texts: the texts of the training points, as far as the featurizer reads them; None for runs on feature
            ids, and for runs made before texts were kept.
        label_text_share: the share of the labels' own texts within the sparse term.
    """

    shares: Shares
    sparse: SparseClassifier | None
    metrics: dict[str, float]
    training: dict[str, str | int | float | bool | None]
    featurizer: Featurizer
    labels: TextTable
    label_counts: NDArray[np.int64]
    num_texts: int
    model: DenseArrays
    reranker: DenseArrays | None
    centroids: NDArray[np.float32]
    centroid_labels: NDArray[np.int32]
    centroid_neighbours: int
    points: NDArray[np.float32]
    point_labels: LabelSets
    point_neighbours: int
    reference: Reference
    held_out: HeldOutTexts
    point_texts: TextTable | None = None
    label_text_share: float = 0.0

    def before_refit(self) -> Checkpoint:
        """Return the model from before it learnt the held-out texts; itself where it never learnt them."""
        held_out = self.held_out
        if not len(held_out.points):
            return self
        learnt_N = np.ones(len(self.points), np.bool_)
        learnt_N[held_out.points] = False
        return replace(
            self,
            points=self.points[learnt_N],
            point_labels=self.point_labels.take(np.flatnonzero(learnt_N)),
            point_texts=None,
            centroids=held_out.centroids,
            centroid_labels=held_out.centroid_labels,
            sparse=held_out.sparse,
        )
