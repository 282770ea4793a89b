"""The scores that the trainer chooses shares by, against the paper's formula and the kernel that serves.

Shapes: B queries, C candidates of all queries together.
"""

import numpy as np
import pytest

from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.scoring.parts import Parts, sigmoids, sparse_probabilities
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates


def test_a_score_is_the_papers_with_sparse_term_votes_and_reranker_beside_it() -> None:
    parts = Parts(*(np.array([value], np.float32) for value in (0.9, 0.5, 0.3, 0.7, 0.1)))
    assert parts.scores(Shares(0.6)) == pytest.approx([0.6 * 0.9 + 0.4 * 0.5])
    y = (1 - 0.2 - 0.1) * (0.6 * 0.9 + 0.4 * 0.5) + 0.2 * 0.7 + 0.1 * 0.3
    assert parts.scores(Shares(0.6, gamma=0.2, delta=0.1)) == pytest.approx([y])
    scores_C = parts.scores(Shares(0.6, gamma=0.2, delta=0.1, beta=0.3))
    assert scores_C == pytest.approx([0.7 * y + 0.3 * 0.1])
    assert scores_C.dtype == np.float32


def test_the_kernel_that_serves_gives_the_same_scores() -> None:
    rng = np.random.default_rng(0)
    num_queries, num_labels, dim = 3, 40, 8
    x_BD, weights_LD = (rng.standard_normal((rows, dim)).astype(np.float32) for rows in (num_queries, num_labels))
    bias_L = rng.standard_normal(num_labels).astype(np.float32)
    labels_C = np.tile(np.arange(num_labels, dtype=np.int32), num_queries)
    similarities_C, votes_C = (
        rng.uniform(-1, 1, len(labels_C)).astype(np.float32),
        rng.random(len(labels_C), np.float32),
    )
    sparse_logits_C = rng.uniform(-3, 3, len(labels_C)).astype(np.float32)
    candidates = Candidates(labels_C, similarities_C, votes_C, num_labels * np.arange(num_queries + 1))
    classifier = Classifiers(x_BD, read_only(weights_LD), NO_SCALES, read_only(bias_L))
    shares = Shares(0.6, beta=0.3, gamma=0.2, delta=0.1)

    ranked_BK, served_BK = rank(candidates, shares.weights(), num_labels, classifier, classifier, sparse_logits_C)

    probabilities_C = sigmoids((x_BD @ weights_LD.T + bias_L).ravel())
    sparse_C = sparse_probabilities(sparse_logits_C)
    parts = Parts(probabilities_C, sigmoids(similarities_C), votes_C, sparse_C, probabilities_C)
    scores_BL = parts.scores(shares).reshape(num_queries, num_labels)
    assert np.take_along_axis(scores_BL, ranked_BK, axis=1) == pytest.approx(served_BK, abs=1e-6)
