"""The file of word vectors, and the English words that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.words.word_file import WordVectors, english_words, read_word_vectors, write_word_vectors

WORDS = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)


def test_what_is_written_is_read_but_for_rounding(tmp_path: Path) -> None:
    vectors_FP = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    vectors_FP[1] = 0
    write_word_vectors(tmp_path / "words.safetensors", WordVectors(["ape", "nut", "über"], vectors_FP), {})
    read = read_word_vectors(tmp_path / "words.safetensors")
    assert read.words == ["ape", "nut", "über"]
    step_F1 = np.abs(vectors_FP).max(axis=1, keepdims=True) / 127
    # Half a step of the rounding to int8, and what float16 rounds of the scale.
    assert (np.abs(read.vectors - vectors_FP) <= 0.5 * step_F1 + 0.001 * np.abs(vectors_FP)).all()


def test_tokens_get_the_vectors_of_their_words() -> None:
    words = WordVectors(["caf", "cafe", "café", "nut"], np.arange(8, dtype=np.float32).reshape(4, 2))
    featurizer = TextFeaturizer.fit(["nut cake", "cafe"], WORDS)
    tokens, vectors = words.of_tokens(featurizer, 3)
    names = [featurizer.vocabulary[token] for token in tokens.tolist()]
    # "café" is folded to "cafe", which comes first; the third column is none of the file's.
    assert dict(zip(names, vectors.tolist(), strict=True)) == {"cafe": [2, 3, 0], "nut": [6, 7, 0]}
    np.testing.assert_array_equal(words.of_tokens(featurizer, 1)[1], vectors[:, :1])


def test_english_words_mean_what_they_mean() -> None:
    english = english_words()
    assert english.words == sorted(set(english.words))
    assert len(english.words) == len(english.vectors) == 76_433
    unit_FP = english.vectors / np.linalg.norm(english.vectors, axis=1, keepdims=True)
    row = {word: number for number, word in enumerate(english.words)}

    def nearest(word: str, others: list[str]) -> str:
        return max(others, key=lambda other: float(unit_FP[row[word]] @ unit_FP[row[other]]))

    others = ["cat", "car", "sofa", "shirt", "bread"]
    assert [nearest(word, others) for word in ("kitten", "automobile", "couch", "blouse", "toast")] == others


@pytest.mark.parametrize("name", ["NOTICE.md", "SCOWL.txt"])
def test_the_notices_are_beside_the_words(name: str) -> None:
    import astec.trainer.words as folder

    assert (Path(folder.__file__).parent / name).stat().st_size > 0
