"""Balanced label clusters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

from astec.trainer.modules.surrogate.clustering import cluster_labels, label_centroids, normalize_rows


def sparse_units(num_labels: int, num_features: int, seed: int, density: float = 0.1) -> csr_matrix:
    matrix = random_sparse(num_labels, num_features, density, "csr", np.float32, np.random.default_rng(seed))
    return normalize_rows(csr_matrix(matrix))


def objective(centroids: NDArray[np.float32], clusters: NDArray[np.int64]) -> float:
    """Return the sum of the cosine similarities of the labels with the mean of their cluster."""
    return sum(float(np.linalg.norm(centroids[clusters == c].sum(axis=0))) for c in range(clusters.max() + 1))


def test_centroids_are_the_normalised_means_of_the_texts_of_a_label() -> None:
    generator = np.random.default_rng(0)
    features = generator.random((30, 12)) * (generator.random((30, 12)) < 0.3)
    labels = generator.random((30, 7)) < 0.3
    labels[:, 5] = False
    expected = np.array([features[carriers].sum(axis=0) for carriers in labels.T])
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    found = label_centroids(csr_matrix(features, dtype=np.float32), csr_matrix(labels, dtype=np.float32))
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)
    assert not found[5].toarray().any(), "a label without a text stays zero"


def test_rows_get_norm_one_and_empty_rows_stay_empty() -> None:
    matrix = csr_matrix(np.array([[3, 4, 0], [0, 0, 0], [0, -2, 0]], np.float32))
    np.testing.assert_allclose(normalize_rows(matrix).toarray(), [[0.6, 0.8, 0], [0.0, 0, 0], [0.0, -1, 0]], rtol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(num_labels=st.integers(1, 200), num_clusters=st.integers(1, 256), seed=st.integers(0, 2**31 - 1))
def test_clusters_are_balanced_and_a_power_of_two(num_labels: int, num_clusters: int, seed: int) -> None:
    clusters = cluster_labels(sparse_units(num_labels, 40, seed), num_clusters, seed)
    assert clusters.shape == (num_labels,)
    if num_clusters >= num_labels:
        assert clusters.tolist() == list(range(num_labels))
        return
    expected = 2 ** int(np.log2(num_clusters))
    sizes = np.bincount(clusters, minlength=expected)
    assert len(sizes) == expected
    assert sizes.max() - sizes.min() <= 1


def test_groups_that_share_no_feature_are_told_apart() -> None:
    """Make four groups of 16 labels, each over its own features, in shuffled order."""
    groups = np.random.default_rng(1).permutation(np.repeat(np.arange(4), 16))
    generator = np.random.default_rng(2)
    features = np.zeros((64, 40), np.float32)
    for label, group in enumerate(groups):
        features[label, 10 * group : 10 * group + 10] = 0.5 + generator.random(10)
    clusters = cluster_labels(normalize_rows(csr_matrix(features)), 4, seed=0)
    found = {(int(group), int(cluster)) for group, cluster in zip(groups, clusters, strict=True)}
    assert len(found) == 4, "each group is one cluster"


def test_the_seed_decides_and_nothing_else() -> None:
    centroids = sparse_units(150, 60, seed=3)
    before = centroids.copy()
    first, again, other = (cluster_labels(centroids, 16, seed) for seed in (7, 7, 8))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert (centroids != before).nnz == 0, "the input is left alone"


@pytest.mark.parametrize("seed", range(5))
def test_two_clusters_are_as_good_as_any_reassignment_to_their_means(seed: int) -> None:
    """The alternation has converged: no balanced assignment to the two means is better."""
    centroids = sparse_units(60, 30, seed, density=0.3)
    clusters = cluster_labels(centroids, 2, seed)
    dense = centroids.toarray()
    means = np.array([dense[clusters == c].sum(axis=0) for c in range(2)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarities = dense @ means.T
    preference = np.argsort(similarities[:, 1] - similarities[:, 0])
    best = similarities[preference[:30], 0].sum() + similarities[preference[30:], 1].sum()
    assert objective(dense, clusters) >= best - 1e-4 * len(dense)


def test_clusters_are_better_than_those_of_chance() -> None:
    centroids = sparse_units(200, 50, seed=5)
    dense = centroids.toarray()
    generator = np.random.default_rng(5)
    chance = [objective(dense, generator.permutation(np.arange(200) % 8)) for _ in range(50)]
    assert objective(dense, cluster_labels(centroids, 8, seed=5)) > 1.1 * max(chance)


@pytest.mark.parametrize(
    "centroids",
    [np.zeros((20, 5), np.float32), np.tile(np.array([0.6, 0.8, 0, 0, 0], np.float32), (20, 1))],
    ids=["no", "equal"],
)
def test_labels_that_cannot_be_told_apart_are_still_balanced(centroids: NDArray[np.float32]) -> None:
    assert np.bincount(cluster_labels(csr_matrix(centroids), 4, seed=0)).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(("num_labels", "num_clusters"), [(0, 2), (3, 0)])
def test_nothing_to_cluster_is_refused(num_labels: int, num_clusters: int) -> None:
    with pytest.raises(ValueError, match=f"cannot make {num_clusters} clusters of {num_labels} labels"):
        cluster_labels(csr_matrix((num_labels, 4), dtype=np.float32), num_clusters, seed=0)
