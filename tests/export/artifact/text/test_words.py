"""Words of a text in their order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold
from astec.export.artifact.text.words import Sequences, WordReader, word_ids

TEXTS = ["red running shoes", "Red shoes", "running red ü", "ü shoes running"]
FEATURIZER = TextFeaturizer.fit(TEXTS, FeaturizerConfig(min_df=1))
WORDS = [FEATURIZER.vocabulary[int(token)] for token in word_ids(FEATURIZER)]


def words_of(sequences: Sequences) -> list[list[str]]:
    bounds = sequences.offsets.tolist()
    return [[WORDS[word] for word in sequences.ids[begin:end]] for begin, end in pairwise(bounds)]


def test_words_are_the_single_words_of_the_vocabulary() -> None:
    assert sorted(WORDS) == ["red", "running", "shoes", "u"]
    assert FEATURIZER.num_features > len(WORDS)


def test_words_come_in_their_order_repeats_included_and_unknown_ones_do_not() -> None:
    found = WordReader(FEATURIZER, 10).read(["shoes, RED shoes", "", "blue", "a running b red"])
    assert words_of(found) == [["shoes", "red", "shoes"], [], [], ["running", "red"]]
    assert found.ids.dtype == np.int32
    assert found.offsets.dtype == np.int64


def test_the_first_known_words_of_a_long_text_are_read() -> None:
    found = WordReader(FEATURIZER, 2).read(["blue red running shoes", "shoes", "red red red"])
    assert words_of(found) == [["red", "running"], ["shoes"], ["red", "red"]]


@given(st.lists(st.text(alphabet="redshoüx ,", max_size=30), max_size=5), st.integers(1, 4))
def test_reading_is_splitting(texts: list[str], most: int) -> None:
    expected = [[word for word in fold(text, FEATURIZER.config).split() if word in WORDS][:most] for text in texts]
    assert words_of(WordReader(FEATURIZER, most).read(texts)) == expected


def test_rows_taken_and_padded() -> None:
    sequences = Sequences(np.array([1, 2, 3, 4], np.int32), np.array([0, 2, 2, 3, 4]))
    taken = sequences.take(np.array([3, 0, 1]))
    assert taken.ids.tolist() == [4, 1, 2]
    assert taken.lengths().tolist() == [1, 2, 0]
    assert taken.padded(3, 9).tolist() == [[4, 9, 9], [1, 2, 9], [9, 9, 9]]


def test_feature_ids_are_refused() -> None:
    bag = Bag(np.array([1], np.int32), np.ones(1, np.float32))
    with pytest.raises(QueryKindError, match="reads the words of a text in their order; send a text"):
        WordReader(FEATURIZER, 3).read(["red", bag])
