"""The split that holds texts out of the training file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bags
from astec.trainer.data.validation_split import split_validation
from astec.trainer.settings.config import ValidationSection


def distinct(num_rows: int) -> Bags:
    """Make bags that each have one feature, a different one in each row."""
    return bags_of([[row] for row in range(num_rows)])


def bags_of(ids: list[list[int]]) -> Bags:
    flat = np.array([one for row in ids for one in row], np.int32)
    return Bags(flat, np.ones(len(flat), np.float32), np.cumsum([0, *map(len, ids)]))


@settings(derandomize=True, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True).map(sorted), min_size=2, max_size=60),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_text_that_comes_again_is_on_one_side(texts: list[list[int]], share: float, seed: int) -> None:
    size = max(1, int(share * len(texts)))
    learnt, held = split_validation(bags_of(texts), size, seed)
    assert sorted([*learnt.tolist(), *held.tolist()]) == list(range(len(texts)))
    assert 1 <= len(held) <= size
    if min(map(texts.count, texts)) <= size:
        assert not {tuple(texts[row]) for row in learnt} & {tuple(texts[row]) for row in held}


@pytest.mark.parametrize("seed", range(5))
def test_a_text_is_as_likely_held_out_whatever_its_number_of_rows(seed: int) -> None:
    """There are 600 texts with 1 row each, 600 with 5 and 600 with 50: a tenth of each kind is held out."""
    repeats = np.repeat([1, 5, 50], 600)
    rows = np.random.default_rng(100 + seed).permutation(np.repeat(np.arange(len(repeats)), repeats))
    size = len(rows) // 10
    _, held = split_validation(bags_of([[text] for text in rows.tolist()]), size, seed)
    texts_held = np.bincount(repeats[np.unique(rows[held])], minlength=51)[[1, 5, 50]]
    assert len(held) == size
    # The draws are without replacement: a share of a tenth of 600 texts has a standard deviation of 7.
    assert np.all(np.abs(texts_held - 60) < 4 * 7), texts_held


def test_rows_are_split_where_every_text_comes_too_often() -> None:
    learnt, held = split_validation(bags_of([[1], [1], [2], [2], [2]]), 1, 0)
    assert (len(learnt), len(held)) == (4, 1)


@settings(derandomize=True, deadline=None)
@given(
    num_rows=st.integers(2, 30_000),
    fraction=st.floats(0.0001, 0.4999),
    max_rows=st.integers(1, 3_000),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_split_is_disjoint_complete_sorted_and_bounded(
    num_rows: int, fraction: float, max_rows: int, seed: int
) -> None:
    section = ValidationSection(fraction=fraction, max_texts=max_rows)
    learnt, held = split_validation(distinct(num_rows), section.size(num_rows), seed)
    assert sorted([*learnt.tolist(), *held.tolist()]) == list(range(num_rows))
    assert np.all(np.diff(learnt) > 0)
    assert np.all(np.diff(held) > 0)
    assert len(learnt) >= 1
    assert 1 <= len(held) <= max_rows
    assert len(held) <= max(1, round(num_rows * fraction), min(1_000, num_rows // 10))


@pytest.mark.parametrize(
    ("num_rows", "held"), [(2, 1), (80, 8), (5_000, 500), (12_404, 1_000), (45_487, 1_819), (1_000_000, 10_000)]
)
def test_little_data_gives_a_larger_share(num_rows: int, held: int) -> None:
    assert ValidationSection().size(num_rows) == held


def test_the_split_follows_its_seed() -> None:
    (_, first), (_, again), (_, other) = (split_validation(distinct(1_000), 100, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert len(first) == 100
