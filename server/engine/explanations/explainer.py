"""The explanation of a ranking: the parts of each score, and the words and tokens of the query behind it.

An explanation takes milliseconds and makes many objects; ordinary predictions do not use this module.

Shapes: D dimensions, K labels of one query, C candidates, T tokens of the query, W words of it.
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
from astec.server.engine.explanations.explanation import (
    Explanation,
    LabelExplanation,
    Neighbour,
    QueryWord,
    ScoreParts,
    TokenWeight,
)
from astec.server.engine.explanations.query_words import QueryWords
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
        words = QueryWords.of(self._artifact.featurizer, query, bags.ids)
        read_W = words.add_up(np.square(bags.weights)[:, None])[:, 0].tolist()
        query_words = [
            QueryWord(text=str(query)[begin:end], begin=begin, end=end, weight=weight)
            for (begin, end), weight in zip(words.spans, read_W, strict=True)
        ]
        labels = self._labels(label_ids, bags, representations, words) if label_ids else []
        return Explanation(tokens=heaviest, words=query_words, labels=labels, neighbours=neighbours)

    def _labels(
        self, label_ids: Sequence[int], bags: Bags, representations: Representations, words: QueryWords
    ) -> list[LabelExplanation]:
        labels = self._candidates(label_ids, representations)
        parts = self._parts(labels, bags, representations)
        added_TK = self._added_by_tokens(labels, bags)
        added_KW = words.add_up(added_TK).T.tolist()
        return [
            LabelExplanation(
                parts=part, tokens=self._heaviest(bags.ids, added_TK[:, rank]), word_weights=added_KW[rank]
            )
            for rank, part in enumerate(parts)
        ]

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

    def _added_by_tokens(self, labels: Candidates, bags: Bags) -> NDArray[np.float32]:
        """Return what each token adds to the sparse term of each label, float32 [T, K]; 0 where there is no term."""
        sparse, num_labels, num_tokens = self._artifact.sparse, len(labels.labels), len(bags.ids)
        if sparse is None:
            return np.zeros((num_tokens, num_labels), np.float32)
        # The term is linear in the tokens, so each token is scored alone.
        alone = Bags(bags.ids, bags.weights, np.arange(num_tokens + 1))
        nothing = np.zeros(num_tokens * num_labels, np.float32)
        asked = Candidates(np.tile(labels.labels, num_tokens), nothing, nothing, np.arange(num_tokens + 1) * num_labels)
        added_TK: NDArray[np.float32] = (
            sparse.logits(asked, alone).reshape(num_tokens, num_labels) - sparse.bias[labels.labels]
        )
        return added_TK

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
