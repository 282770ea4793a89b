"""The validation split: which rows are held out, by texts, rows, time or file."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.trainer.data.examples import Examples
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import DistinctTexts, EarlierTexts, split_validation
from astec.trainer.settings.config import ValidationSection

SplitSetting = Literal["auto", "texts", "rows", "time", "file"]


def distinct(num_rows: int) -> Bags:
    """Make bags that each have one feature, a different one in each row."""
    return bags_of([[row] for row in range(num_rows)])


def bags_of(ids: list[list[int]]) -> Bags:
    flat = np.array([one for row in ids for one in row], np.int32)
    return Bags(flat, np.ones(len(flat), np.float32), np.cumsum([0, *map(len, ids)]))


def data_of(bags: Bags, num_valid_texts: int = 0) -> TrainingData:
    """Make data of these texts, which all have the same label."""
    labels_N1 = csr_matrix(np.ones((len(bags), 1), np.float32))
    names = TextTable.from_texts(["label"])
    return TrainingData(IdFeaturizer(1000), names, Examples(bags, labels_N1), 0, num_valid_texts=num_valid_texts)


@settings(derandomize=True, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True).map(sorted), min_size=2, max_size=60),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_text_that_comes_again_is_on_one_side(texts: list[list[int]], share: float, seed: int) -> None:
    size = max(1, int(share * len(texts)))
    held = DistinctTexts.of(bags_of(texts)).draw(size, seed).tolist()
    learnt = set(range(len(texts))) - set(held)
    assert 1 <= len(held) <= size
    if min(map(texts.count, texts)) <= size:
        assert not {tuple(texts[row]) for row in learnt} & {tuple(texts[row]) for row in held}


@pytest.mark.parametrize("seed", range(5))
def test_a_text_is_as_likely_held_out_whatever_its_number_of_rows(seed: int) -> None:
    """There are 600 texts with 1 row each, 600 with 5 and 600 with 50: a tenth of each kind is held out."""
    repeats = np.repeat([1, 5, 50], 600)
    rows = np.random.default_rng(100 + seed).permutation(np.repeat(np.arange(len(repeats)), repeats))
    size = len(rows) // 10
    held = DistinctTexts.of(bags_of([[text] for text in rows.tolist()])).draw(size, seed)
    texts_held = np.bincount(repeats[np.unique(rows[held])], minlength=51)[[1, 5, 50]]
    assert len(held) == size
    # The draws are without replacement: a share of a tenth of 600 texts has a standard deviation of 7.
    assert np.all(np.abs(texts_held - 60) < 4 * 7), texts_held


def test_rows_are_split_where_every_text_comes_too_often() -> None:
    assert len(DistinctTexts.of(bags_of([[1], [1], [2], [2], [2]])).draw(1, 0)) == 1


@settings(derandomize=True, deadline=None)
@given(
    num_rows=st.integers(2, 30_000),
    fraction=st.floats(0.0001, 0.4999),
    max_rows=st.integers(1, 3_000),
    seed=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(["auto", "texts", "rows", "time"]),
)
def test_the_split_is_disjoint_complete_sorted_and_bounded(
    num_rows: int, fraction: float, max_rows: int, seed: int, kind: SplitSetting
) -> None:
    section = ValidationSection(split=kind, fraction=fraction, max_texts=max_rows)
    split = split_validation(data_of(distinct(num_rows)), section, seed)
    learnt, held = split.learnt, split.held
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


@pytest.mark.parametrize("kind", ["texts", "rows"])
def test_the_split_follows_its_seed(kind: SplitSetting) -> None:
    data, section = data_of(distinct(1_000)), ValidationSection(split=kind)
    first, again, other = (split_validation(data, section, seed).held.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first) == 100


def test_rows_are_drawn_one_by_one_whatever_their_texts() -> None:
    """Of two texts with 500 rows each, each side of the split gets rows of both."""
    data = data_of(bags_of([[row % 2] for row in range(1_000)]))
    split = split_validation(data, ValidationSection(split="rows"), 0)
    assert (split.kind, len(split.held)) == ("rows", 100)
    # The draws are without replacement: the number of odd rows has a standard deviation of 4.7.
    assert abs(int((split.held % 2).sum()) - 50) < 4 * 4.7


def test_a_split_by_time_holds_out_the_last_rows_whatever_the_seed() -> None:
    data = data_of(bags_of([[row % 2] for row in range(1_000)]))
    for seed in (0, 1):
        split = split_validation(data, ValidationSection(split="time"), seed)
        assert split.held.tolist() == list(range(900, 1_000))


def test_what_an_earlier_run_has_learnt_is_held_out_last() -> None:
    """Of 1,000 texts, an earlier run has learnt 500 and held out 30; 100 are to be held out."""
    bags = distinct(1_000)
    old_rows = np.random.default_rng(0).permutation(1_000)[:530]
    earlier = EarlierTexts.of(bags.take(old_rows), np.arange(30))
    held_before, learnt = set(old_rows[:30].tolist()), set(old_rows[30:].tolist())
    held = set(split_validation(data_of(bags), ValidationSection(), 1, earlier).held.tolist())
    assert len(held) == 100
    assert held_before <= held
    assert not held & learnt
    section = ValidationSection(fraction=0.49, min_texts=1)
    held = set(split_validation(data_of(bags), section, 1, earlier).held.tolist())
    assert len(held) == 490
    assert len(held & learnt) == 0
    known = EarlierTexts.of(bags, np.arange(30))
    held = set(split_validation(data_of(bags), ValidationSection(), 1, known).held.tolist())
    assert len(held) == 100
    assert set(range(30)) < held


@pytest.mark.parametrize("kind", ["auto", "file"])
def test_a_validation_file_is_held_out_whole(kind: SplitSetting) -> None:
    """Its size does not follow the settings, and its repeated texts are not counted."""
    data = data_of(bags_of([[row] for row in range(30)] + [[0]] * 20), num_valid_texts=20)
    split = split_validation(data, ValidationSection(split=kind, max_texts=5), 0)
    assert (split.kind, split.held.tolist()) == ("file", list(range(30, 50)))
    assert split.learnt.tolist() == list(range(30))
    assert split.repeated_share == 0


@pytest.mark.parametrize(("num_repeated", "kind"), [(0, "texts"), (8, "texts"), (24, "texts"), (26, "rows")])
def test_auto_takes_a_file_in_which_many_rows_repeat_a_text_for_traffic(num_repeated: int, kind: str) -> None:
    """Of 100 rows, some are pairs of equal texts."""
    data = data_of(bags_of([[row if row >= num_repeated else row // 2] for row in range(100)]))
    split = split_validation(data, ValidationSection(), 0)
    assert split.repeated_share == pytest.approx(num_repeated / 100)
    assert split.kind == kind


def test_texts_without_a_known_token_are_no_repeated_texts() -> None:
    data = data_of(bags_of([[] if row < 50 else [row] for row in range(100)]))
    assert split_validation(data, ValidationSection(), 0).repeated_share == 0
