"""The best candidates, and the ranks of the relevant labels among them."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.ranking_metrics import RankingMetrics
from astec.trainer.training.ranking import rank_candidates, shortlist_recall


def candidates(*rows: dict[int, float]) -> Candidates:
    """Make candidates of the labels and similarities of each text."""
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    labels = np.array([label for row in rows for label in row], np.int32)
    similarities = np.array([s for row in rows for s in row.values()], np.float32)
    return Candidates(labels, similarities, np.zeros_like(similarities), offsets)


def relevant(num_labels: int, *rows: list[int]) -> csr_matrix:
    matrix = np.zeros((len(rows), num_labels), np.float32)
    for row, labels in enumerate(rows):
        matrix[row, labels] = 1
    return csr_matrix(matrix)


def test_the_best_come_first_ties_in_order_and_gaps_are_marked() -> None:
    found = candidates({4: 0.1, 2: 0.9, 7: 0.5, 1: 0.5}, {}, {3: -1.0})
    ranked_RK, best_RK = rank_candidates(found.similarities, found, 3)
    assert ranked_RK.tolist() == [[2, 7, 1], [-1, -1, -1], [3, -1, -1]]
    assert best_RK == pytest.approx(np.array([[0.9, 0.5, 0.5], [0, 0, 0], [-1, 0, 0]]))


def test_recall_counts_what_a_shortlist_cut_at_k_still_holds() -> None:
    found = candidates({0: 0.9, 1: 0.8, 2: 0.7}, {}, {3: 0.5})
    labels_RL = relevant(5, [0, 2, 4], [1], [])
    recall = shortlist_recall(found, labels_RL, (1, 2, 3, 100))
    assert recall == pytest.approx({1: 100 / 6, 2: 100 / 6, 3: 100 / 3, 100: 100 / 3}), "the text without labels is out"


def test_recall_is_that_of_the_ranking_metrics() -> None:
    generator = np.random.default_rng(0)
    rows = [
        dict(zip(generator.permutation(40)[:20].tolist(), generator.random(20).tolist(), strict=True))
        for _ in range(30)
    ]
    found, truth = candidates(*rows), [np.sort(generator.permutation(40)[:3]) for _ in range(30)]
    metrics = RankingMetrics((), recall_ks=(1, 5, 20))
    metrics.update(rank_candidates(found.similarities, found, 20)[0], truth)
    recall = shortlist_recall(found, relevant(40, *(labels.tolist() for labels in truth)), (1, 5, 20))
    assert {f"R@{k}": percent for k, percent in recall.items()} == pytest.approx(metrics.result())


def test_nothing_relevant_has_no_recall() -> None:
    with pytest.raises(ValueError, match="none of 2 texts has a relevant label"):
        shortlist_recall(candidates({0: 1.0}, {}), relevant(3, [], []), (1,))
