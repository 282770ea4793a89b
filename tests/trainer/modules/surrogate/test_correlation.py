"""The correlation of labels, and its effect on clusters."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity

from astec.trainer.modules.surrogate.clustering import cluster_labels, label_centroids
from astec.trainer.modules.surrogate.correlation import label_correlation, smooth_centroids

LEAVES = 15


def two_stars() -> tuple[csr_matrix, csr_matrix]:
    """Texts of two groups of labels: 15 leaves, each on a text of its own with the hub of its group.

    Every text has one token of its own, so that two leaves of one group share neither text nor token. Labels of both
    groups alternate.
    """
    labels = np.zeros((2 * LEAVES, 2 * LEAVES + 2), np.float32)
    for text in range(2 * LEAVES):
        labels[text, text] = 1
        labels[text, 2 * LEAVES + text % 2] = 1
    return csr_matrix(identity(2 * LEAVES, np.float32)), csr_matrix(labels)


def random_labels(num_texts: int, num_labels: int, seed: int) -> csr_matrix:
    return csr_matrix((np.random.default_rng(seed).random((num_texts, num_labels)) < 0.1).astype(np.float32))


def test_labels_without_a_common_token_cluster_by_their_correlation() -> None:
    features_NV, labels_NL = two_stars()
    centroids_LV = label_centroids(features_NV, labels_NL)
    groups = np.arange(2 * LEAVES + 2) % 2
    similarity = (centroids_LV @ centroids_LV.T).toarray()
    assert similarity[0, 2] == 0
    plain = cluster_labels(centroids_LV, 2, seed=0)
    smoothed = cluster_labels(smooth_centroids(centroids_LV, label_correlation(labels_NL, seed=0)), 2, seed=0)
    assert len(set(zip(groups.tolist(), smoothed.tolist(), strict=True))) == 2, "each group is one cluster"
    assert len(set(zip(groups.tolist(), plain.tolist(), strict=True))) > 2, "which needs the smoothing"


def test_rows_are_shares_of_few_neighbours() -> None:
    correlation_LL = label_correlation(random_labels(200, 60, seed=1), seed=0)
    np.testing.assert_allclose(correlation_LL.sum(axis=1), 1, rtol=1e-5)
    assert np.diff(correlation_LL.indptr).max() == 16
    assert correlation_LL.data.min() > 0
    assert correlation_LL.has_sorted_indices


def test_the_walk_estimates_how_often_labels_meet() -> None:
    """Label 0 meets 1 on three texts of four and 2 on the fourth; 3 stands alone; 4 has no text."""
    labels = csr_matrix(
        np.array([[1, 1, 0, 0, 0]] * 3 + [[1, 0, 1, 0, 0], [0, 0, 0, 1, 0]], np.float32),
    )
    correlation = np.mean([label_correlation(labels, seed).toarray() for seed in range(40)], axis=0)
    assert correlation[0, 0] > correlation[0, 1] > 2 * correlation[0, 2] > 0
    assert correlation[2, 0] > correlation[2, 1] > 0, "two steps away"
    assert correlation[3].tolist() == [0, 0, 0, 1, 0]
    assert correlation[4].tolist() == [0, 0, 0, 0, 1]


def test_the_seed_decides_the_walk() -> None:
    labels_NL = random_labels(200, 60, seed=2)
    first, again, other = (label_correlation(labels_NL, seed).toarray() for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_labels_are_walked_chunk_by_chunk() -> None:
    """More labels than one chunk has, none of which meets another."""
    correlation_LL = label_correlation(csr_matrix(identity(20_000, np.float32)), seed=0)
    assert (correlation_LL != identity(20_000)).nnz == 0


def test_smoothing_is_the_product_with_unit_rows() -> None:
    generator = np.random.default_rng(4)
    centroids = generator.random((30, 12)).astype(np.float32) * (generator.random((30, 12)) < 0.4)
    correlation = generator.random((30, 30)).astype(np.float32) * (generator.random((30, 30)) < 0.2)
    correlation[7] = 0
    expected = correlation @ centroids
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    found = smooth_centroids(csr_matrix(centroids), csr_matrix(correlation))
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)


def test_of_a_long_row_the_largest_entries_count() -> None:
    generator = np.random.default_rng(5)
    centroids = generator.random((3, 700)).astype(np.float32)
    centroids[1, 100:] = 0
    found = smooth_centroids(csr_matrix(centroids), csr_matrix(identity(3, np.float32)))
    assert np.diff(found.indptr).tolist() == [256, 100, 256]
    assert sorted(found[2].indices) == sorted(np.argsort(-centroids[2])[:256])
    np.testing.assert_allclose(np.linalg.norm(found.toarray(), axis=1), 1, rtol=1e-5)


def test_the_sum_of_long_rows_is_no_longer() -> None:
    centroids = np.random.default_rng(6).random((4, 700)).astype(np.float32)
    found = smooth_centroids(csr_matrix(centroids), csr_matrix(np.full((4, 4), 0.25, np.float32)))
    assert np.diff(found.indptr).tolist() == [256] * 4


def test_of_equal_entries_the_first_tokens_count() -> None:
    """Against sorting whole rows, with few different values, and with entries that cancel each other."""
    generator = np.random.default_rng(7)
    centroids = csr_matrix(generator.integers(-3, 4, (40, 900)).astype(np.float32))
    correlation = csr_matrix(generator.integers(-1, 2, (40, 40)).astype(np.float32))
    expected = np.zeros(centroids.shape, np.float32)
    for row, sums in enumerate(correlation.toarray() @ largest(centroids.toarray())):
        expected[row] = largest(sums[None])[0]
    norms = np.sqrt((expected * expected).sum(axis=1, keepdims=True))
    found = smooth_centroids(shuffled(centroids, generator), correlation)
    assert found.has_sorted_indices
    np.testing.assert_array_equal(found.toarray(), expected / norms)


def largest(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the 256 largest of the entries of each row that are not 0."""
    kept = np.zeros_like(rows)
    for row, values in enumerate(rows):
        entries = np.flatnonzero(values)
        chosen = entries[np.argsort(-values[entries], kind="stable")[:256]]
        kept[row, chosen] = values[chosen]
    return kept


def shuffled(matrix: csr_matrix, generator: np.random.Generator) -> csr_matrix:
    """The same matrix, with the entries of each row in another order."""
    rows = [begin + generator.permutation(end - begin) for begin, end in pairwise(matrix.indptr)]
    order = np.concatenate(rows)
    return csr_matrix((matrix.data[order], matrix.indices[order], matrix.indptr), matrix.shape)
