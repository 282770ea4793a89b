"""The trial that decides whether labels' own texts are learnt from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.data import label_text_trial, nearest_texts
from astec.trainer.data.label_text_trial import SharedWords, try_label_texts
from astec.trainer.data.nearest_texts import Gain, sample_pairs

WORDS = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
COLOURS = [f"colour{i}" for i in range(20)]
THINGS = [f"thing{i}" for i in range(20)]
PHRASES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
TEXTS = [f"buy the {phrase} online" for phrase in PHRASES]
"""One text for each phrase: without the phrase itself, nothing connects a text with its label."""


def try_on(texts: list[str], label_texts: list[str], labels: list[int], seed: int = 0) -> Gain | SharedWords:
    """Try texts that carry one label each."""
    shape = (len(texts), len(label_texts))
    labels_NL = csr_matrix((np.ones(len(texts), np.float32), labels, np.arange(len(texts) + 1)), shape)
    return try_label_texts(TextTable.from_texts(texts), TextTable.from_texts(label_texts), labels_NL, WORDS, seed)


def test_labels_that_are_words_of_the_texts_succeed() -> None:
    trial = try_on(TEXTS, PHRASES, list(range(len(PHRASES))))
    assert isinstance(trial, Gain)
    assert trial.succeeds
    # Found first, by no other text: P@1, P@3 and P@5 rise from 0 to 1, 1/3 and 1/5.
    assert trial.gain == pytest.approx(100 * (1 + 1 / 3 + 1 / 5) / 3)
    assert trial.standard_error == pytest.approx(0, abs=1e-6)


def test_labels_that_are_codes_fail() -> None:
    codes = [f"x{i}" for i in range(len(TEXTS))]
    assert try_on(TEXTS, codes, list(range(len(TEXTS)))) == Gain(gain=0.0, standard_error=0.0)
    assert not Gain(gain=0.0, standard_error=0.0).succeeds


def test_labels_whose_texts_tell_enough_fail() -> None:
    """Five texts for each label say the same as its own text."""
    texts = [f"{thing} {word}" for thing in THINGS for word in ("buy", "sell", "rent", "new", "old", "big")]
    trial = try_on(texts, THINGS, [i // 6 for i in range(len(texts))])
    assert isinstance(trial, Gain)
    assert trial.gain == 0


def test_rows_of_one_text_do_not_answer_for_each_other() -> None:
    trial = try_on([*TEXTS, *TEXTS], PHRASES, [*range(len(PHRASES)), *range(len(PHRASES))])
    assert isinstance(trial, Gain)
    assert trial.gain == pytest.approx(100 * (1 + 1 / 3 + 1 / 5) / 3)


def test_words_against_the_label_are_a_loss() -> None:
    """Each label's own text is what another label's texts say."""
    texts = [f"{thing} {word}" for thing in THINGS for word in ("buy", "sell", "rent", "new", "old", "big")]
    labels = [i // 6 for i in range(len(texts))]
    trial = try_on(texts, [f"{thing} buy sell rent" for thing in [*THINGS[1:], THINGS[0]]], labels)
    assert isinstance(trial, Gain)
    assert trial.gain <= 0
    assert not trial.succeeds


def test_of_few_different_texts_the_words_decide() -> None:
    assert try_on(TEXTS[:99] * 2, PHRASES, list(range(99)) * 2) == SharedWords(1.0)
    assert isinstance(try_on(TEXTS[:100], PHRASES, list(range(100))), Gain)
    assert try_on(TEXTS[:4], ["colour0", "x", "new thing2", "4"], list(range(4))) == SharedWords(0.5)
    assert try_on(["保温杯", "不锈钢保温杯"], ["杯", "鞋"], [0, 1]) == SharedWords(0.5), "a script without spaces"
    assert try_on([""] * 200, ["?"] * 200, list(range(200))) == SharedWords(0.0), "no tokens"


@pytest.mark.parametrize(("share", "succeeds"), [(0.5, True), (0.49, False)])
def test_half_of_the_labels_must_share_a_word(share: float, succeeds: bool) -> None:
    decided = SharedWords(share)
    assert decided.succeeds == succeeds
    assert f"{share:.0%} of the labels share a word with their texts" in decided.reason


def test_a_sample_of_many_texts_and_labels_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"_MOST_PAIRS": 200, "_FEWEST_LABELS": 50, "_MOST_TEXTS": 150, "_MOST_PROBES": 120, "_PROBES_AT_ONCE": 7}
    for name, value in limits.items():
        monkeypatch.setattr(label_text_trial if name == "_PROBES_AT_ONCE" else nearest_texts, name, value)
    rows, labels = sample_pairs(csr_matrix(np.eye(400, dtype=np.float32)), np.random.default_rng(0))
    assert (len(rows), len(labels)) == (150, 200)
    assert set(rows) <= set(labels), "each text carries a label of the sample"
    trial = try_on(TEXTS, PHRASES, list(range(len(PHRASES))))
    assert isinstance(trial, Gain)
    assert trial.succeeds
    assert trial == try_on(TEXTS, PHRASES, list(range(len(PHRASES))))


@pytest.mark.parametrize(("gain", "error", "succeeds"), [(1.0, 0.1, True), (0.99, 0.0, False), (1.5, 0.8, False)])
def test_a_gain_must_be_worth_its_cost_and_no_chance(gain: float, error: float, succeeds: bool) -> None:
    assert Gain(gain, error).succeeds == succeeds
