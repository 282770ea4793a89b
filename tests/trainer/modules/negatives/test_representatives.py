"""The label representatives in ANNS-mu."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.trainer.modules.negatives.representatives import label_representatives, spherical_k_means
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.settings.config import NeighboursSection, ShortlistSection

DIM = 6


def two_headed() -> tuple[NDArray[np.float32], csr_matrix]:
    """Label 1 is on 40 texts around axis 0 and on 40 around axis 1; label 0 on 10 around axis 2; label 2 on 3."""
    generator = np.random.default_rng(0)
    axes = np.repeat([0, 1, 2, 3], [40, 40, 10, 3])
    v_ND = (np.eye(DIM)[axes] + 0.1 * generator.random((len(axes), DIM))).astype(np.float32)
    labels = np.zeros((len(axes), 3), np.float32)
    labels[np.arange(len(axes)), np.array([1, 1, 0, 2])[axes]] = 1
    return v_ND, csr_matrix(labels)


def settings(head_labels: int, representatives: int) -> ShortlistSection:
    return ShortlistSection(
        centroids=NeighboursSection(neighbours=1),
        points=NeighboursSection(neighbours=1),
        head_labels=head_labels,
        representatives_per_head=representatives,
    )


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_without_head_labels_each_label_has_its_mean() -> None:
    v_ND, labels_NL = two_headed()
    vectors, labels = label_representatives(v_ND, labels_NL, settings(0, 2), seed=0)
    assert labels.tolist() == [0, 1, 2]
    means = np.array([v_ND[labels_NL.toarray()[:, label] > 0].mean(axis=0) for label in range(3)])
    np.testing.assert_allclose(unit(vectors), unit(means), atol=1e-6)


def test_the_most_frequent_label_gets_a_representative_for_each_of_its_senses() -> None:
    v_ND, labels_NL = two_headed()
    vectors, labels = label_representatives(v_ND, labels_NL, settings(1, 2), seed=0)
    assert labels.tolist() == [0, 1, 1, 1, 2], "in label order, each label's mean first"
    assert labels.dtype == np.int32
    np.testing.assert_allclose(unit(vectors)[1], unit(v_ND[:80].mean(axis=0, keepdims=True))[0], atol=1e-6)
    senses = unit(np.array([v_ND[:40].mean(axis=0), v_ND[40:80].mean(axis=0)]))
    found = vectors[2:4][np.argsort(-vectors[2:4, 0])]
    np.testing.assert_allclose(found, senses, atol=0.01)
    assert (unit(vectors)[1] @ senses.T < 0.9).all(), "which the mean is far from"


def test_a_label_has_one_representative_for_four_texts_at_most() -> None:
    v_ND, labels_NL = two_headed()
    _, labels = label_representatives(v_ND, labels_NL, settings(3, 300), seed=0)
    assert np.bincount(labels).tolist() == [1 + 2, 1 + 20, 1]


def test_the_shortlist_finds_a_label_by_its_rare_sense() -> None:
    """A query between the second sense and another label, but nearer to the sense."""
    v_ND, labels_NL = two_headed()
    query = np.array([[0, 1, 0.8, 0, 0, 0]], np.float32)

    def nearest(chosen: ShortlistSection) -> list[int]:
        shortlister = SearchVectors.of(v_ND, labels_NL, chosen, seed=0).shortlister(chosen, torch.device("cpu"))
        return Shortlister(shortlister.centroids, None, None).search(query, query).labels.tolist()

    assert nearest(settings(0, 2)) == [0]
    assert nearest(settings(1, 2)) == [1]


def test_texts_without_a_known_token_are_left_out() -> None:
    v_ND, labels_NL = two_headed()
    v_ND[:40] = 0
    vectors, labels = label_representatives(v_ND, labels_NL, settings(1, 2), seed=0)
    assert labels.tolist() == [0, 1, 1, 1, 2]
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("count", [1, 5, 40])
def test_k_means_ends_where_each_centre_is_the_mean_of_its_points(count: int) -> None:
    points = unit(np.random.default_rng(1).random((40, DIM)).astype(np.float32))
    centres = spherical_k_means(points, count, np.random.default_rng(2))
    again = spherical_k_means(points, count, np.random.default_rng(2))
    assert centres.tolist() == again.tolist()
    assert len(centres) == count
    nearest = (points @ centres.T).argmax(axis=1)
    means = unit(np.array([points[nearest == c].sum(axis=0) for c in range(count)]))
    np.testing.assert_allclose(centres, means, atol=1e-5)


def test_equal_points_have_one_centre() -> None:
    points = np.tile(np.eye(1, DIM, dtype=np.float32), (9, 1))
    assert spherical_k_means(points, 3, np.random.default_rng(0)).tolist() == points[:1].tolist()
