"""The surrogate labels of Module I, by every method."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

from astec.export.artifact.text.bags import Bags
from astec.trainer.data.examples import Examples
from astec.trainer.modules.surrogate.labels import hash_labels, surrogate_labels, surrogate_membership
from astec.trainer.settings.config import ConfigError, SurrogateSection
from astec.trainer.settings.config_file import load_config

NUM_TEXTS, NUM_LABELS, NUM_FEATURES = 120, 40, 50


@pytest.fixture(name="train", scope="module")
def examples() -> Examples:
    """Make texts of random tokens; label l is on every text with probability 1 / (l + 2)."""
    generator = np.random.default_rng(0)
    features = csr_matrix(random_sparse(NUM_TEXTS, NUM_FEATURES, 0.1, "csr", np.float32, generator))
    labels = generator.random((NUM_TEXTS, NUM_LABELS)) < 1 / (np.arange(NUM_LABELS) + 2)
    labels[:, 30] = False
    labels[3] = [label == 39 for label in range(NUM_LABELS)]
    bags = Bags(features.indices, features.data, features.indptr.astype(np.int64))
    return Examples(bags, csr_matrix(labels.astype(np.float32)))


def settings(**changes: object) -> SurrogateSection:
    return SurrogateSection.model_validate(changes)


def predict(train: Examples, settings: SurrogateSection, seed: int) -> csr_matrix:
    """Return the surrogate labels of the training texts."""
    return surrogate_labels(train.labels, surrogate_membership(train, NUM_FEATURES, settings, seed))


@pytest.mark.parametrize("smoothing", [True, False])
def test_clusters_are_those_of_the_labels_of_a_text(train: Examples, smoothing: bool) -> None:
    clusters_NK = predict(train, settings(num_clusters=8, smoothing=smoothing), seed=0)
    assert clusters_NK.shape == (NUM_TEXTS, 8)
    assert set(clusters_NK.data.tolist()) == {1}
    assert (np.diff(clusters_NK.indptr) <= np.diff(train.labels.indptr)).all()
    # A label's cluster is on every text that has the label: five labels in each.
    cover = (train.labels.T @ clusters_NK).toarray() == train.label_counts()[:, None]
    assert cover.any(axis=1).all()


def test_smoothing_changes_clusters(train: Examples) -> None:
    plain, smoothed = (
        predict(train, settings(num_clusters=8, smoothing=smoothing), seed=0) for smoothing in (False, True)
    )
    assert (plain != smoothed).nnz


@pytest.mark.parametrize("method", ["clusters", "labels"])
def test_few_labels_are_predicted_themselves(train: Examples, method: str) -> None:
    found = predict(train, settings(method=method, num_clusters=NUM_LABELS), seed=0)
    assert (found != train.labels).nnz == 0


def test_the_most_frequent_labels_are_selected(train: Examples) -> None:
    selected_NK = predict(train, settings(method="labels", num_clusters=5), seed=0)
    columns = train.labels.toarray()
    best = sorted(sorted(range(NUM_LABELS), key=lambda label: (-columns[:, label].sum(), label))[:5])
    assert selected_NK.toarray().tolist() == columns[:, best].tolist()
    assert selected_NK[3].nnz == 0, "a text whose labels were not selected has none"


def test_hashed_labels_share_buckets_by_the_seed(train: Examples) -> None:
    chosen = settings(method="hashed", num_clusters=8)
    first, again, other = (predict(train, chosen, seed) for seed in (1, 1, 2))
    assert first.shape == (NUM_TEXTS, 8)
    assert (first != again).nnz == 0
    assert (first != other).nnz
    buckets = hash_labels(NUM_LABELS, 8, seed=1)
    for row in range(NUM_TEXTS):
        assert set(first[row].indices) == {buckets[label] for label in train.labels[row].indices}


def test_labels_are_hashed_however_many_buckets_there_are() -> None:
    buckets = hash_labels(1000, 1000, seed=0)
    num_used = buckets.max() + 1
    assert np.bincount(buckets).min() == 1, "no bucket without a label"
    assert 550 < num_used < 700, "1 - 1/e of the buckets are hit"


def test_unsupervised_embeddings_have_nothing_to_predict(train: Examples) -> None:
    with pytest.raises(ValueError, match="unsupervised has no surrogate labels"):
        predict(train, settings(method="unsupervised", embeddings="corpus"), seed=0)


def test_unsupervised_with_random_embeddings_is_refused() -> None:
    with pytest.raises(ConfigError, match="surrogate: method unsupervised trains no embeddings"):
        load_config(None, ["surrogate.method=unsupervised"])
    chosen = load_config(None, ["surrogate.method=unsupervised", "surrogate.embeddings=corpus"]).surrogate
    assert (chosen.method, chosen.embeddings) == ("unsupervised", "corpus")


def test_embeddings_from_nowhere_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"'corpsu' is neither random nor corpus nor a file called .vec, .vec.gz, .bin"
    ):
        load_config(None, ["surrogate.embeddings=corpsu"])
    with pytest.raises(ConfigError, match=r"write a folder with a slash: \./minilm"):
        load_config(None, ["surrogate.embeddings=minilm"])
    for place in ("./minilm", "vectors.bin"):
        assert load_config(None, [f"surrogate.embeddings={place}"]).surrogate.embeddings == place


def test_many_labels_share_clusters_whatever_their_number_allows() -> None:
    """5,000 labels of a text each: four to a cluster, rounded to a power of two."""
    num = 5_000
    bags = Bags(np.arange(num, dtype=np.int32) % 700, np.ones(num, np.float32), np.arange(num + 1))
    train = Examples(bags, csr_matrix((np.ones(num, np.float32), (np.arange(num), np.arange(num))), shape=(num, num)))
    for per_cluster, expected in ((1, num), (4, 1024), (5, 512)):
        membership = surrogate_membership(train, 700, settings(labels_per_cluster=per_cluster, smoothing=False), seed=0)
        assert membership.shape == (num, expected)
