"""Token embeddings distilled from a pretrained encoder, which is made here at random."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer
from transformers import AutoModel

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.readers import DataError
from astec.trainer.data.examples import Examples
from astec.trainer.embeddings.distilled import distil
from astec.trainer.embeddings.initial import initial_embeddings
from tests.tiny_transformer import save_tiny_transformer

pytestmark = pytest.mark.slow

HIDDEN = 12
TEXTS = ["red shoes", "red car", "blue car", "red hats", "red coats", "日本 red"]
WORDS = ["red", "shoes", "car", "blue", "hats", "coats"]
CPU = torch.device("cpu")
SETTING = "surrogate.embeddings"


@cache
def featurizer() -> TextFeaturizer:
    return TextFeaturizer.fit(TEXTS, FeaturizerConfig(word_ngrams=2, min_char_ngram=3, max_char_ngram=3, min_df=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_transformer(tmp_path_factory.mktemp("encoder"), WORDS, HIDDEN)


def alone(folder: Path, text: str) -> NDArray[np.float32]:
    """Return the mean of the last layer over the pieces of one text, as Hugging Face's library has it."""
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    with torch.no_grad():
        mean: NDArray[np.float32] = AutoModel.from_pretrained(folder)(ids).last_hidden_state[0].mean(dim=0).numpy()
    return mean


def by_token(folder: Path, dim: int) -> dict[str, NDArray[np.float32]]:
    tokens_F, vectors_FD = distil(folder, featurizer(), dim, CPU, SETTING)
    assert vectors_FD.dtype == np.float32
    return dict(zip(np.array(featurizer().vocabulary)[tokens_F].tolist(), vectors_FD, strict=True))


def test_words_and_runs_of_words_are_read_and_runs_of_characters_are_not(folder: Path) -> None:
    vocabulary = featurizer().vocabulary
    assert any(token.startswith("~") for token in vocabulary)
    assert list(by_token(folder, 4)) == [token for token in vocabulary if not token.startswith("~")]


@pytest.mark.parametrize("words", ["red", "red car"])
def test_words_are_as_far_apart_as_the_encoder_has_them(folder: Path, words: str) -> None:
    """With all components kept, only the origin moves and the axes turn."""
    vectors = by_token(folder, HIDDEN + 3)
    expected = np.linalg.norm(alone(folder, words) - alone(folder, "blue"))
    assert np.linalg.norm(vectors[words] - vectors["blue"]) == pytest.approx(expected, rel=1e-3)
    assert not vectors[words][HIDDEN:].any()


def test_fewer_dimensions_are_the_leading_components(folder: Path) -> None:
    full, reduced = by_token(folder, HIDDEN), by_token(folder, 4)
    for token, vector in reduced.items():
        np.testing.assert_allclose(vector, full[token][:4], rtol=0, atol=1e-6)
    vectors = np.stack(list(full.values()))
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-4)
    variances = vectors.var(axis=0)
    assert (np.diff(variances) <= 1e-6).all()


def test_embeddings_begin_as_the_encoder_has_them(folder: Path) -> None:
    examples = Examples(featurizer().transform(TEXTS), csr_matrix(np.ones((len(TEXTS), 1), np.float32)))
    embeddings_VD, share = initial_embeddings(str(folder), examples, featurizer(), 8, seed=0)
    tokens_F, vectors_FD = distil(folder, featurizer(), 8, CPU, SETTING)
    assert share == len(tokens_F) / featurizer().num_features
    known_FD = embeddings_VD[tokens_F]
    assert np.square(known_FD).sum(axis=1).mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(known_FD, known_FD[0, 0] / vectors_FD[0, 0] * vectors_FD, rtol=1e-5)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("", r"has no encoder that can be read: surrogate\.embeddings .* must be a folder with a tokenizer\.json"),
        ("tokenizer.json", r"must be a folder with a tokenizer\.json; save model and tokenizer there"),
        ("model.safetensors", r"surrogate\.embeddings '.*' cannot be read: .*model\.safetensors"),
        ("config.json", r"surrogate\.embeddings '.*' cannot be read: "),
    ],
)
def test_a_folder_without_an_encoder_is_refused_by_name(tmp_path: Path, missing: str, message: str) -> None:
    copy = tmp_path / "encoder"
    if missing:
        copy.mkdir()
        save_tiny_transformer(copy, WORDS, HIDDEN)
        (copy / missing).unlink()
    examples = Examples(featurizer().transform(TEXTS), csr_matrix(np.ones((len(TEXTS), 1), np.float32)))
    with pytest.raises(DataError, match=message) as refused:
        initial_embeddings(str(copy), examples, featurizer(), 8, seed=0)
    assert str(copy) in str(refused.value)
