"""The judge of ways to search: accuracy on the held-out texts, computed with the kernels of the server.

Shapes: R held-out texts, B texts of a chunk, D dimensions, L labels, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.encoder.inputs import encoder_inputs
from astec.export.artifact.scoring.dense import DenseClassifier
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts
from astec.export.model.encoder_graph import encoder_graph, run_encoder
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities

RANKS = (1, 3, 5)
# Texts times labels (or points) times dimensions: limits the time of exact search and scoring to about a minute.
_MAX_PRODUCTS = 2.5e10
_MIN_TEXTS, _MAX_TEXTS = 200, 2_000
_CHUNK_LABELS = 2_000_000


class Ranking(NamedTuple):
    """The best labels of each text by a way to search.

    Shapes: `labels` int64 [R, K], best first, padded with -1, and `scores` float32 [R, K]. `scored` is the mean number
    of labels scored per text.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    scored: float


@dataclass(frozen=True, slots=True)
class Figures:
    """P@k and PSP@k in percent by name, and the mean number of labels scored per text."""

    metrics: dict[str, float]
    labels: float

    @property
    def precision(self) -> float:
        """The mean of P@1, P@3 and P@5."""
        return sum(self.metrics[f"P@{k}"] for k in RANKS) / len(RANKS)

    @property
    def propensity_scored(self) -> float:
        """The mean of PSP@1, PSP@3 and PSP@5."""
        return sum(self.metrics[f"PSP@{k}"] for k in RANKS) / len(RANKS)


class Judge:
    """Ranks labels for the held-out texts of a checkpoint and compares them with the right labels.

    Args:
        checkpoint: the model, before it learnt these texts.
        int8: whether embeddings and classifiers are quantized to int8.

    Attributes:
        texts: the texts that are ranked: all held-out texts, or fewer where there are many labels or points.
        relevant: the right labels of each text.
        inverse_propensities_L: the weight of each label in PSP@k.

    Raises:
        ValueError: there are no held-out texts.
    """

    def __init__(self, checkpoint: Checkpoint, *, int8: bool = False) -> None:
        held_out, model = checkpoint.held_out, checkpoint.model
        if not len(held_out.bags):
            raise ValueError(
                "the run has no held-out texts to choose how to search by: pin all of it with --shortlist, --dim, "
                "--neighbours, --centroid-neighbours (unless points alone are searched), --m and --ef-search"
            )
        largest = max(len(checkpoint.points), len(checkpoint.labels)) * model.dim
        affordable = min(_MAX_TEXTS, max(_MIN_TEXTS, int(_MAX_PRODUCTS / largest)))
        self.texts: HeldOutTexts = held_out.take(min(len(held_out.bags), affordable))
        self._checkpoint, self._part_weights = checkpoint, checkpoint.shares.weights()
        self._classifier = DenseClassifier.of(model.classifier, model.bias, int8=int8)
        if int8:
            self.texts = _represented_by_int8(self.texts, model)
        self.relevant = np.split(self.texts.labels.indices, self.texts.labels.indptr[1:-1])
        self.inverse_propensities_L = inverse_propensities(checkpoint.label_counts, checkpoint.num_texts)

    def rank(
        self, shortlister_of: Callable[[slice], Shortlister], top_k: int, chunk_texts: int | None = None
    ) -> Ranking:
        """Rank the labels of all texts by a way to search.

        Args:
            shortlister_of: returns the shortlister for a range of the texts.
            top_k: the number of labels to return for each text, K.
            chunk_texts: number of texts at a time; None takes all at once.
        """
        count = len(self.texts.v)
        chunks: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        labels = 0
        for begin in range(0, count, chunk_texts or count):
            rows = slice(begin, min(begin + (chunk_texts or count), count))
            ranked_BK, scores_BK, scored = self._rank(shortlister_of(rows), rows, top_k)
            chunks.append((ranked_BK, scores_BK))
            labels += scored
        ranked, scores = zip(*chunks, strict=True)
        return Ranking(np.concatenate(ranked), np.concatenate(scores), labels / count)

    def figures(self, ranking: Ranking) -> Figures:
        """Compute the figures of a ranking of at least five ranks."""
        metrics = RankingMetrics(RANKS, self.inverse_propensities_L)
        metrics.update(ranking.labels, self.relevant)
        result = metrics.result()
        return Figures({f"{name}@{k}": result[f"{name}@{k}"] for name in ("P", "PSP") for k in RANKS}, ranking.scored)

    def exhaustive_chunk(self) -> int:
        """The number of texts at a time where every label is a candidate."""
        return max(1, _CHUNK_LABELS // len(self._checkpoint.labels))

    def _rank(
        self, shortlister: Shortlister, rows: slice, top_k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
        """Return the best labels [B, K], their scores [B, K], and the number of labels scored."""
        checkpoint, texts = self._checkpoint, self.texts
        # The indices are `Hits`, which know their results, so that the queries do not matter.
        candidates = shortlister.search(texts.v[rows], texts.v[rows])
        reranker, sparse_logits_C = None, None
        if checkpoint.reranker is not None and self._part_weights.reranker > 0:
            weights = checkpoint.reranker
            reranker = Classifiers(texts.x_tilde[rows], *DenseClassifier.of(weights.classifier, weights.bias).arrays())
        if checkpoint.sparse is not None and self._part_weights.sparse > 0:
            bags = texts.bags.take(np.arange(len(texts.v))[rows])
            sparse_logits_C = checkpoint.sparse.logits(candidates, bags)
        classifier = Classifiers(texts.x_hat[rows], *self._classifier.arrays())
        best_BK, scores_BK = rank(candidates, self._part_weights, top_k, classifier, reranker, sparse_logits_C)
        return best_BK, scores_BK, len(candidates.labels)


def _represented_by_int8(texts: HeldOutTexts, model: DenseArrays) -> HeldOutTexts:
    """Encode the texts with quantized embeddings; the embeddings of a re-ranker are never quantized."""
    embeddings = Embeddings.of(model.embeddings, int8=True)
    inputs = encoder_inputs(model.front.description.reads, embeddings, texts.bags, texts.sequences)
    encoded = run_encoder(encoder_graph(model), inputs)
    return replace(texts, v=encoded["v"], x_hat=encoded["x_hat"])
