"""Made-up data with the published sizes: its statistics, that it can be learnt, and that a seed repeats it."""

import numpy as np
import pytest

from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.trainer.bench.synthetic import SHAPES, DataShape, ScaleError, make_training_data
from astec.trainer.data.training_data import TrainingData

SCALE = 0.01


def small(name: str, seed: int = 0) -> tuple[DataShape, TrainingData]:
    shape = SHAPES[name].scaled(SCALE if name != "Q2B-3M" else SCALE / 10)
    return shape, make_training_data(shape, seed)


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_and_means_are_those_published(name: str) -> None:
    shape, data = small(name)
    examples = data.examples
    assert (len(examples), data.num_labels) == (shape.num_texts, shape.num_labels)
    assert examples.labels.shape == (shape.num_texts, shape.num_labels)
    assert data.featurizer.num_features == shape.num_features
    assert examples.labels.nnz / len(examples) == pytest.approx(shape.labels_per_text, rel=0.05)
    assert len(examples.bags.ids) / len(examples) == pytest.approx(shape.features_per_text, rel=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_the_data_keeps_the_promises_of_training_data(name: str) -> None:
    _, data = small(name)
    bags, labels_NL = data.examples.bags, data.examples.labels
    assert isinstance(data.featurizer, IdFeaturizer)
    assert bags.lengths().min() >= 1
    assert np.diff(labels_NL.indptr).min() >= 1
    assert set(np.unique(labels_NL.data)) == {1.0}
    assert labels_NL.has_canonical_format, "no pair comes twice"
    for row in range(0, len(bags), 97):
        ids = bags.ids[bags.offsets[row] : bags.offsets[row + 1]]
        assert np.all(np.diff(ids) > 0), "tokens are distinct and ascend"
    features_NV = data.examples.features(data.featurizer.num_features)
    np.testing.assert_allclose(np.sqrt(features_NV.multiply(features_NV).sum(axis=1)), 1, rtol=1e-5)
    counts_L = data.examples.label_counts()
    assert counts_L.min() >= 1
    assert np.all(np.diff(counts_L) <= 0), "labels are ordered by falling frequency"


def test_labels_are_named_by_their_number() -> None:
    _, data = small("AmazonTitles-670K")
    names = list(data.label_texts)
    assert [int(name) for name in names] == list(range(data.num_labels))
    assert names == sorted(names), "labels of equal frequency are ordered by text"


def test_most_labels_have_few_texts_and_few_have_most() -> None:
    _, data = small("AmazonTitles-670K")
    counts_L = data.examples.label_counts()
    assert np.median(counts_L) <= 4
    head = counts_L[: len(counts_L) // 10].sum() / counts_L.sum()
    assert 0.25 < head < 0.75, "share of the most frequent tenth"
    df_V = np.sort(np.bincount(data.examples.bags.ids))[::-1]
    assert df_V[0] > 20 * np.median(df_V)


def test_tokens_tell_labels() -> None:
    """A text shares a label with its nearest neighbour by tokens far more often than with other texts."""
    shape, data = small("AmazonTitles-670K")
    features_NV = data.examples.features(shape.num_features)
    queries = np.arange(0, len(data.examples), 10)
    similarities = (features_NV[queries] @ features_NV.T).toarray()
    similarities[np.arange(len(queries)), queries] = -1
    shared = (data.examples.labels[queries] @ data.examples.labels.T).toarray() > 0
    nearest = shared[np.arange(len(queries)), similarities.argmax(axis=1)].mean()
    assert nearest > 0.25
    assert nearest > 20 * shared.mean()


def test_the_seed_decides() -> None:
    (_, first), (_, again), (_, other) = (small("WikiSeeAlsoTitles-350K", seed) for seed in (1, 1, 2))
    assert np.array_equal(first.examples.bags.ids, again.examples.bags.ids)
    assert np.array_equal(first.examples.bags.weights, again.examples.bags.weights)
    assert (first.examples.labels != again.examples.labels).nnz == 0
    assert (first.examples.labels != other.examples.labels).nnz > 0


def test_a_scale_changes_sizes_and_keeps_means() -> None:
    whole = SHAPES["AmazonTitles-670K"]
    half = whole.scaled(0.5)
    assert (half.num_texts, half.num_features, half.num_labels) == (242_588, 33_333, 335_046)
    assert (half.labels_per_text, half.features_per_text) == (whole.labels_per_text, whole.features_per_text)
    assert whole.scaled(1) == whole


def test_a_scale_that_leaves_nothing_is_refused_with_the_size() -> None:
    with pytest.raises(ScaleError, match=r"a scale of 0\.001 leaves num_features = 67, and 100 are needed; raise"):
        SHAPES["AmazonTitles-670K"].scaled(0.001)
