"""The trial that decides whether the word vectors of the package are used."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.data.nearest_texts import Gain
from astec.trainer.data.word_vector_trial import try_word_vectors
from astec.trainer.settings.config import WordVectorsSection
from tests.trainer.meanings import MEANINGS

TOKENS = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
WORDS = [(word, label) for label, words in MEANINGS.items() for word in words]


def try_on(
    texts: list[str], labels: list[str], *, own_texts: bool = False, weight: float = 1.0, seed: int = 0
) -> Gain | None:
    names = sorted(set(labels))
    columns = [names.index(label) for label in labels]
    shape = (len(texts), len(names))
    labels_NL = csr_matrix((np.ones(len(texts), np.float32), columns, np.arange(len(texts) + 1)), shape)
    settings = WordVectorsSection(weight=weight)
    label_texts = TextTable.from_texts(names) if own_texts else None
    return try_word_vectors(TextTable.from_texts(texts), label_texts, labels_NL, TOKENS, settings, seed)


def test_labels_of_words_that_mean_the_same_succeed() -> None:
    """Each text is a word that no other text has: its tokens find nothing, its meaning does."""
    trial = try_on(*map(list, zip(*WORDS, strict=True)))
    assert trial is not None
    assert trial.succeeds
    # By tokens nothing is found. Of one label, P@1, P@3 and P@5 are at most 1, 1/3 and 1/5.
    best = 100 * (1 + 1 / 3 + 1 / 5) / 3
    assert 0.5 * best < trial.gain < best


def test_the_labels_own_texts_are_found_by_their_meaning() -> None:
    """Of many labels with one text each, only the label's own text says which it is."""
    pairs = [(word, label) for words in MEANINGS.values() for word, label in pairwise(words)]
    texts, labels = map(list, zip(*pairs, strict=True))
    texts_more, labels_more = [*texts, *labels], [*labels, *texts]
    without, with_texts = (try_on(texts_more, labels_more, own_texts=own_texts) for own_texts in (False, True))
    assert without is not None
    assert with_texts is not None
    assert with_texts.gain > max(without.gain, 0)


def test_words_against_their_meaning_fail() -> None:
    """Texts whose labels only their tokens tell, by words that mean much the same."""
    animals, vehicles = MEANINGS["animal"][:12], MEANINGS["vehicle"][:10]
    texts = [f"{animal} {vehicle}" for animal in animals for vehicle in vehicles]
    labels = [f"x{animals.index(text.split()[0])}" for text in texts]
    trial = try_on(texts, labels, weight=10)
    assert trial is not None
    assert trial.gain < 0
    assert not trial.succeeds


def test_too_few_texts_tell_nothing() -> None:
    assert try_on(["cat", "dog"] * 60, ["animal", "pet"] * 60) is None


def test_texts_without_words_tell_nothing() -> None:
    assert try_on(["-" * (1 + number) for number in range(120)], ["none", "some"] * 60) is None


def test_the_same_seed_decides_the_same() -> None:
    texts, labels = map(list, zip(*WORDS, strict=True))
    assert try_on(texts, labels, seed=3) == try_on(texts, labels, seed=3)
