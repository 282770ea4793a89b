"""The explanation of a ranking: the parts of each score, and the tokens of the query that contribute to it.

An explanation takes milliseconds and makes many objects; ordinary predictions do not use this module.

Shapes: D dimensions, K labels of one query, C candidates, T tokens of the query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.scorer import Classifiers, rank_by_sum
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.hidden import VISIBLE, Hidden
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bags, Query
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.server.engine.explanation import Explanation, LabelExplanation, Neighbour, ScoreParts, TokenWeight
from astec.server.engine.query_encoder import QueryEncoder, Representations

MAX_TOKENS = 20
MAX_NEIGHBOURS = 10
MAX_NEIGHBOUR_LABELS = 20


class Explainer:
    """Explains rankings. Thread-safe; every call runs on its caller's thread alone."""

    def __init__(self, artifact: Artifact, encoder: QueryEncoder) -> None:
        self._artifact = artifact
        self._encoder = encoder

    def explain(self, query: Query, label_ids: Sequence[int], hidden: Hidden | None = None) -> Explanation:
        """Explain K labels of a ranking of this query, in their order; hidden labels are not named."""
        bags, sequences = self._artifact.featurize([query])
        representations = self._encoder.encode(bags, sequences)
        heaviest = self._heaviest(bags.ids, bags.weights)
        neighbours = self._neighbours(representations, label_ids, self._artifact.removed if hidden is None else hidden)
        if not label_ids:
            return Explanation(tokens=heaviest, labels=[], neighbours=neighbours)
        labels = self._candidates(label_ids, representations)
        parts = self._parts(labels, bags, representations)
        tokens = self._token_shares(labels, bags)
        return Explanation(
            tokens=heaviest,
            labels=[LabelExplanation(parts=part, tokens=shares) for part, shares in zip(parts, tokens, strict=True)],
            neighbours=neighbours,
        )

    def _neighbours(
        self, representations: Representations, label_ids: Sequence[int], hidden: Hidden | None
    ) -> list[Neighbour]:
        """Return the nearest training points; none if the artifact has no texts of them.

        A point is a row of the training log even without its text, so it is not shown then.
        """
        artifact, points = self._artifact, self._artifact.shortlister.points
        if artifact.point_texts is None or points is None:
            return []
        voters = artifact.shortlister.voters(representations.z)
        ranks = {label: rank for rank, label in enumerate(label_ids)}
        neighbours = []
        for point, similarity, vote in zip(*(array[:MAX_NEIGHBOURS].tolist() for array in voters), strict=True):
            labels = points.labels.indices[points.labels.indptr[point] : points.labels.indptr[point + 1]].tolist()
            if hidden is not None:
                labels = [label for label in labels if hidden[label] == VISIBLE]
            labels.sort(key=lambda label: ranks.get(label, len(ranks)))
            texts = [artifact.labels[label] for label in labels[:MAX_NEIGHBOUR_LABELS]]
            text = artifact.point_texts[point]
            neighbours.append(Neighbour(text=text, similarity=similarity, vote=vote, labels=texts))
        return neighbours

    def _candidates(self, label_ids: Sequence[int], representations: Representations) -> Candidates:
        """Return K labels with their similarities and votes; a label that only a filter brought has no votes."""
        shortlister = self._artifact.shortlister
        near = shortlister.nearby(representations.z)
        vote_of = dict(zip(near.labels.tolist(), near.votes.tolist(), strict=True))
        labels_K, offsets = np.array(label_ids, np.int32), np.array([0, len(label_ids)])
        votes_K = np.array([vote_of.get(label, 0.0) for label in label_ids], np.float32)
        return Candidates(labels_K, shortlister.similarities(labels_K, offsets, representations.v), votes_K, offsets)

    def _parts(self, labels: Candidates, bags: Bags, representations: Representations) -> list[ScoreParts]:
        """Return what each part adds to the score of each label, or to its logit."""
        artifact = self._artifact
        classifier = Classifiers(representations.x_hat, *artifact.classifier.arrays())
        reranker = None
        if artifact.reranker is not None:
            reranker = Classifiers(representations.x_tilde, *artifact.reranker.arrays())
        logits_K = None if artifact.sparse is None else artifact.sparse.logits(labels, bags)
        weights = Shares.of(artifact.manifest.scoring).weights()
        added: dict[str, dict[int, float]] = {}
        for part in weights.parts():
            # The scorer itself, with the weight of one part at a time.
            ranked = rank_by_sum(labels, weights.alone(part), len(labels.labels), classifier, reranker, logits_K)
            added[part] = dict(zip(ranked[0][0].tolist(), ranked[1][0].tolist(), strict=True))
        return [
            ScoreParts(**{part: added_by[label] for part, added_by in added.items()}, bias=weights.bias)
            for label in labels.labels.tolist()
        ]

    def _token_shares(self, labels: Candidates, bags: Bags) -> list[list[TokenWeight]]:
        """Return the tokens that the sparse term of each label is made of, with what each adds to it."""
        sparse, num_labels, num_tokens = self._artifact.sparse, len(labels.labels), len(bags.ids)
        if sparse is None:
            return [[] for _ in range(num_labels)]
        # The term is linear in the tokens, so each token is scored alone.
        alone = Bags(bags.ids, bags.weights, np.arange(num_tokens + 1))
        nothing = np.zeros(num_tokens * num_labels, np.float32)
        asked = Candidates(np.tile(labels.labels, num_tokens), nothing, nothing, np.arange(num_tokens + 1) * num_labels)
        added_TK = sparse.logits(asked, alone).reshape(num_tokens, num_labels) - sparse.bias[labels.labels]
        return [self._heaviest(bags.ids, added_TK[:, label]) for label in range(num_labels)]

    def _heaviest(self, ids: NDArray[np.int32], weights: NDArray[np.float32]) -> list[TokenWeight]:
        order = np.argsort(-np.abs(weights), kind="stable")[:MAX_TOKENS]
        return [
            TokenWeight(token=self._token(int(ids[position])), weight=float(weights[position]))
            for position in order
            if weights[position] != 0
        ]

    def _token(self, token_id: int) -> str:
        featurizer = self._artifact.featurizer
        return featurizer.vocabulary[token_id] if isinstance(featurizer, TextFeaturizer) else str(token_id)
