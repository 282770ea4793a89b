"""The labels that a batch is trained on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.modules.negatives.label_sampler import LabelSampler
from tests.trainer.modules.negatives.random_labels import random_labels, with_random


@settings(derandomize=True, deadline=None)
@given(
    num_texts=st.integers(1, 30),
    num_labels=st.integers(1, 60),
    num_negatives=st.integers(1, 8),
    num_random=st.integers(0, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_batch_is_trained_on_its_positives_its_negatives_and_some_more(
    num_texts: int, num_labels: int, num_negatives: int, num_random: int, seed: int
) -> None:
    labels_NL = random_labels(num_texts, num_labels, seed)
    generator = np.random.default_rng(seed)
    negatives_NS = generator.integers(0, num_labels, (num_texts, num_negatives)).astype(np.int32)
    for row in negatives_NS:
        row[generator.integers(0, num_negatives + 1) :] = -1
    sampler = LabelSampler(labels_NL, negatives_NS, with_random(num_random), seed)
    for step in range(2):  # the second batch meets the scratch space of the first
        rows_B = generator.permutation(num_texts)[: generator.integers(1, num_texts + 1)]
        labels_U, positive_rows, positive_columns = sampler.sample(rows_B, step)
        positives = [(i, int(label)) for i, row in enumerate(rows_B) for label in labels_NL[row].indices]
        negatives = {int(label) for row in rows_B for label in negatives_NS[row] if label >= 0}
        sampled = labels_U.tolist()
        required = negatives | {label for _, label in positives}
        assert len(set(sampled)) == len(sampled), "distinct"
        assert required <= set(sampled)
        assert len(sampled) == num_labels, "so few labels are all taken"
        assert 0 <= min(sampled) <= max(sampled) < num_labels
        pairs = list(zip(positive_rows.tolist(), labels_U[positive_columns].tolist(), strict=True))
        assert pairs == positives


def test_sampled_labels_follow_the_seed() -> None:
    labels_NL, negatives_NS = random_labels(20, 500, seed=0), np.full((20, 1), -1, np.int32)

    def draw(seed: int) -> list[list[int]]:
        sampler = LabelSampler(labels_NL, negatives_NS, with_random(10), seed)
        return [sampler.sample(np.arange(20), step)[0].tolist() for step in range(2)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert draw(3)[0] != draw(3)[1], "every batch draws anew"


@pytest.mark.parametrize(("num_labels", "sizes"), [(5_000, {512}), (700, {512}), (300, {300})])
def test_batches_have_few_sizes_whatever_they_hold(num_labels: int, sizes: set[int]) -> None:
    """A batch has a multiple of 512 labels, or all labels."""
    labels_NL = random_labels(60, num_labels, seed=0)
    negatives_NS = np.random.default_rng(0).integers(0, num_labels, (60, 3)).astype(np.int32)
    sampler = LabelSampler(labels_NL, negatives_NS, with_random(2), seed=0)
    drawn = [sampler.sample(np.arange(begin, begin + 20), step)[0] for step, begin in enumerate((0, 20, 40))]
    assert {len(labels_U) for labels_U in drawn} == sizes
    assert all(len(set(labels_U.tolist())) == len(labels_U) for labels_U in drawn)


def test_a_batch_of_many_labels_is_filled_up_to_the_next_multiple() -> None:
    labels_NL = random_labels(600, 5_000, seed=0)
    sampler = LabelSampler(labels_NL, np.full((600, 1), -1, np.int32), with_random(0), seed=0)
    labels_U, _, _ = sampler.sample(np.arange(600), 0)
    distinct = len(set(labels_NL.indices.tolist()))
    assert distinct > 512
    assert len(labels_U) == -(-distinct // 512) * 512


def test_a_batch_of_too_many_negatives_takes_as_many_of_each_text_and_others_each_time() -> None:
    """Each of 20 texts has 500 negatives that no other text has."""
    labels_NL = random_labels(20, 5_000, seed=0)
    labels_NL.resize(20, 20_000)
    negatives_NS = (np.arange(20)[:, None] * 500 + np.arange(500) + 5_000).astype(np.int32)
    sampler = LabelSampler(labels_NL, negatives_NS, with_random(0, labels_per_batch=1024), seed=0)
    batches = [set(sampler.sample(np.arange(20), step)[0].tolist()) for step in range(2)]
    positives = set(labels_NL.indices.tolist())
    for batch in batches:
        assert len(batch) == 1024
        assert positives <= batch
        taken = np.array([len(batch & set(row.tolist())) for row in negatives_NS])
        assert taken.max() - taken.min() <= 1
    assert len(batches[0] & batches[1]) < 200


def test_positives_are_all_taken_however_many_there_are() -> None:
    labels_NL = random_labels(600, 5_000, seed=0)
    negatives_NS = np.full((600, 1), 4_999, np.int32)
    labels_U, _, _ = LabelSampler(labels_NL, negatives_NS, with_random(50, 512), seed=0).sample(np.arange(600), 0)
    positives = set(labels_NL.indices.tolist())
    assert len(positives) > 512
    assert positives <= set(labels_U.tolist())
    assert len(labels_U) == -(-len(positives) // 512) * 512
