"""The vectors that are searched, and the negatives mined among them or drawn."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.modules.negatives import sampling
from astec.trainer.modules.negatives.sampling import choose_negatives, draw_negatives, mine_negatives, shortlist
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.settings.config import NeighboursSection, ShortlistSection
from tests.trainer.modules.negatives.random_labels import random_labels

NUM_TEXTS, NUM_LABELS, DIM = 600, 40, 12
CPU = torch.device("cpu")
SHORTLIST = ShortlistSection(
    centroids=NeighboursSection(neighbours=10),
    points=NeighboursSection(neighbours=8),
)


@pytest.fixture(name="v_ND", scope="module")
def representations() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((NUM_TEXTS, DIM), np.float32)


@pytest.fixture(name="labels_NL", scope="module")
def labels_of_texts() -> csr_matrix:
    return random_labels(NUM_TEXTS, NUM_LABELS, seed=1)


@pytest.fixture(scope="module")
def vectors(v_ND: NDArray[np.float32], labels_NL: csr_matrix) -> SearchVectors:
    return SearchVectors.of(v_ND, labels_NL, SHORTLIST, seed=0)


def whole(blocks: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(list(blocks))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_representatives_are_the_normalised_means_of_the_texts_of_a_label(
    vectors: SearchVectors, v_ND: NDArray[np.float32], labels_NL: csr_matrix
) -> None:
    dense = labels_NL.toarray()
    means = np.array([v_ND[dense[:, label] > 0].mean(axis=0) for label in range(NUM_LABELS)])
    np.testing.assert_allclose(vectors.centroids, unit(means), atol=1e-6)
    assert vectors.centroid_labels.tolist() == list(range(NUM_LABELS))


def test_points_are_the_texts_with_their_labels(
    vectors: SearchVectors, v_ND: NDArray[np.float32], labels_NL: csr_matrix
) -> None:
    np.testing.assert_allclose(vectors.points, unit(v_ND), atol=1e-6)
    points = vectors.point_labels
    for row in (0, 17, NUM_TEXTS - 1):
        own = points.indices[points.indptr[row] : points.indptr[row + 1]]
        assert own.tolist() == np.flatnonzero(labels_NL[row].toarray()).tolist()


def test_the_shortlist_is_the_union_of_what_both_searches_find(
    vectors: SearchVectors, v_ND: NDArray[np.float32], labels_NL: csr_matrix
) -> None:
    """Compare with brute force. A label is as similar as its one representative, whichever search found the label."""
    queries, dense = v_ND[:40], labels_NL.toarray() > 0
    found = shortlist(vectors.shortlister(SHORTLIST, CPU), queries, "")
    to_labels, to_points = unit(queries) @ vectors.centroids.T, unit(queries) @ unit(v_ND).T
    for query in range(len(queries)):
        near_points = np.argsort(-to_points[query])[:8]
        expected = set(np.argsort(-to_labels[query])[:10].tolist()) | set(
            np.flatnonzero(dense[near_points].any(axis=0))
        )
        votes = np.zeros(NUM_LABELS)
        for point in near_points:
            votes[dense[point]] += to_points[query, point] ** 6
        votes /= (np.sort(to_points[query])[-8:] ** 6).sum()
        begin, end = found.offsets[query : query + 2]
        labels = found.labels[begin:end].tolist()
        assert sorted(labels) == sorted(expected)
        assert found.similarities[begin:end].tolist() == pytest.approx(to_labels[query, labels].tolist(), abs=1e-5)
        assert found.votes[begin:end].tolist() == pytest.approx(votes[labels].tolist(), abs=1e-5)


@pytest.mark.parametrize("num_negatives", [4, 60])
def test_negatives_are_the_shortlist_without_the_positives_best_first(
    vectors: SearchVectors,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    num_negatives: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is more than one chunk of texts, and fewer than 60 labels, so that rows of 60 negatives are padded."""
    monkeypatch.setattr(sampling, "_CHUNK_TEXTS", 256)
    shortlister = vectors.shortlister(SHORTLIST, CPU)
    negatives_NS = whole(mine_negatives(shortlister, v_ND, labels_NL, num_negatives))
    assert negatives_NS.shape == (NUM_TEXTS, num_negatives)
    dense = labels_NL.toarray() > 0
    for row, negatives in enumerate(negatives_NS):
        found = shortlister.search(v_ND[row : row + 1], v_ND[row : row + 1])
        hardness = dict(zip(found.labels.tolist(), (found.similarities + found.votes).tolist(), strict=True))
        kept = negatives[negatives >= 0].tolist()
        wrong = [label for label in hardness if not dense[row, label]]
        assert len(set(kept)) == len(kept) == min(len(wrong), num_negatives)
        assert set(kept) <= set(wrong)
        assert [hardness[label] for label in kept] == sorted((hardness[w] for w in wrong), reverse=True)[: len(kept)]
        assert np.all(negatives[len(kept) :] == -1)


def test_a_text_without_a_known_token_has_no_negatives(vectors: SearchVectors, labels_NL: csr_matrix) -> None:
    shortlister = vectors.shortlister(SHORTLIST, CPU)
    negatives_NS = whole(mine_negatives(shortlister, np.zeros((3, DIM), np.float32), labels_NL[:3], 5))
    assert np.all(negatives_NS == -1)


@pytest.mark.parametrize("power", [0, 0.75])
def test_drawn_negatives_are_distinct_and_no_positives(labels_NL: csr_matrix, power: float) -> None:
    negatives_NS = whole(draw_negatives(labels_NL, power, 20, seed=3))
    assert negatives_NS.shape == (NUM_TEXTS, 20)
    dense = labels_NL.toarray() > 0
    for row, negatives in enumerate(negatives_NS):
        kept = negatives[negatives >= 0]
        assert len(set(kept.tolist())) == len(kept) > 15
        assert not dense[row, kept].any()
        assert np.all(negatives[len(kept) :] == -1)
    assert (negatives_NS == whole(draw_negatives(labels_NL, power, 20, seed=3))).all()
    assert (negatives_NS != whole(draw_negatives(labels_NL, power, 20, seed=4))).any()


@pytest.mark.parametrize("power", [0, 0.75])
def test_labels_are_drawn_by_their_frequency_to_a_power(power: float) -> None:
    """Label l is on 4 ** l texts; the first draws of the texts without a label are counted."""
    owners = np.repeat(np.arange(5), 4 ** np.arange(5))
    labels = np.zeros((len(owners) + 20_000, 5), np.float32)
    labels[np.arange(len(owners)), owners] = 1
    drawn = whole(draw_negatives(csr_matrix(labels), power, 1, seed=0))[len(owners) :, 0]
    expected = (4.0 ** np.arange(5)) ** power
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), expected / expected.sum(), atol=0.015)


def test_more_negatives_than_there_are_are_not_waited_for() -> None:
    negatives_NS = whole(draw_negatives(csr_matrix(np.eye(3, dtype=np.float32)), 0, 4, seed=0))
    assert negatives_NS.min(axis=1).tolist() == [-1] * 3


@pytest.mark.parametrize(("sampler", "power"), [("uniform", 0), ("unigram", 0.75), ("hard", None)])
def test_the_sampler_is_chosen_by_its_name(
    vectors: SearchVectors,
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    sampler: Literal["uniform", "unigram", "hard"],
    power: float | None,
) -> None:
    chosen = SHORTLIST.model_copy(update={"sampler": sampler, "num_hard_negatives": 6})
    shortlister = vectors.shortlister(chosen, CPU)
    found = choose_negatives(shortlister, v_ND, labels_NL, chosen, 9)
    if power is None:
        expected = mine_negatives(shortlister, v_ND, labels_NL, 6)
    else:
        expected = draw_negatives(labels_NL, power, 6, 9)
    assert (whole(found) == whole(expected)).all()
