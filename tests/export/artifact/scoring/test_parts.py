"""The scores that the trainer chooses weights by, against the paper's formula and the kernel that serves.

Shapes: B queries, C candidates of all queries together.
"""

import numpy as np
import pytest

from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.scoring.shares import PartWeights, Shares
from astec.export.artifact.shortlist.candidates import Candidates

ODDS_OF_3_TO_1 = np.log(3.0)


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def one_candidate(*logits: float) -> Parts:
    return Parts(*(np.array([logit], np.float32) for logit in logits))


def test_a_score_is_the_papers_with_sparse_term_votes_and_reranker_beside_it() -> None:
    parts = one_candidate(ODDS_OF_3_TO_1, 0.0, 0.3, ODDS_OF_3_TO_1 / 2, -ODDS_OF_3_TO_1)
    assert parts.scores(Shares(0.6).weights()) == pytest.approx([0.6 * 0.75 + 0.4 * 0.5])
    y = (1 - 0.2 - 0.1) * (0.6 * 0.75 + 0.4 * 0.5) + 0.2 * 0.75 + 0.1 * 0.3
    assert parts.scores(Shares(0.6, gamma=0.2, delta=0.1).weights()) == pytest.approx([y])
    scores_C = parts.scores(Shares(0.6, gamma=0.2, delta=0.1, beta=0.3).weights())
    assert scores_C == pytest.approx([0.7 * y + 0.3 * 0.25])
    assert scores_C.dtype == np.float32


def test_logits_are_weighed_as_they_are_and_make_one_probability() -> None:
    parts = one_candidate(2.0, 0.5, 0.3, -1.0, 4.0)
    weights = PartWeights(0.4, 2.0, 1.5, 3.0, 0.1, bias=-1.25, as_logits=True)
    expected = sigmoid(0.4 * 2.0 + 2.0 * 0.5 + 1.5 * -1.0 + 3.0 * 0.3 + 0.1 * 4.0 - 1.25)
    assert parts.scores(weights) == pytest.approx([expected])


@pytest.mark.parametrize(
    "weights",
    [Shares(0.6, beta=0.3, gamma=0.2, delta=0.1).weights(), PartWeights(0.4, 2, 1.5, 3, 0.1, -1.25, as_logits=True)],
    ids=["probabilities", "logits"],
)
def test_the_kernel_that_serves_gives_the_same_scores(weights: PartWeights) -> None:
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

    ranked_BK, served_BK = rank(candidates, weights, num_labels, classifier, classifier, sparse_logits_C)

    logits_C = (x_BD @ weights_LD.T + bias_L).ravel()
    parts = Parts(logits_C, similarities_C, votes_C, sparse_logits_C, logits_C)
    scores_BL = parts.scores(weights).reshape(num_queries, num_labels)
    assert np.take_along_axis(scores_BL, ranked_BK, axis=1) == pytest.approx(served_BK, abs=1e-6)
