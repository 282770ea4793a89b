"""The initial token embeddings: random, from the corpus, or from a file."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.readers import DataError
from astec.trainer.data.examples import Examples
from astec.trainer.embeddings.corpus import corpus_embeddings
from astec.trainer.embeddings.fasttext import FastTextModel
from astec.trainer.embeddings.initial import initial_embeddings

MODEL = Path(__file__).parent / "data" / "fasttext.bin"
# What fastText itself says of that model: of its words, of two words it was not trained on ("bluest", "cafés"), and of
# three character n-grams, marked by a tilde.
EXPECTED = {
    line.split()[0]: np.array(line.split()[1:], np.float32)
    for line in MODEL.with_name("fasttext.expected.txt").read_text("utf-8").splitlines()[1:]
}
DIM = 8
TEXTS = ["red shoes", "blue car", "bluest cafés", "New York", "xy red"]
SUBWORDS = FeaturizerConfig(word_ngrams=2, min_char_ngram=3, max_char_ngram=4, min_df=1, rules=1)  # keeps accents
WORDS = FeaturizerConfig(word_ngrams=2, min_char_ngram=0, max_char_ngram=0, min_df=1)


def fitted(config: FeaturizerConfig, texts: list[str] = TEXTS) -> tuple[TextFeaturizer, Examples]:
    featurizer = TextFeaturizer.fit(texts, config)
    return featurizer, Examples(featurizer.transform(texts), csr_matrix(np.ones((len(texts), 1), np.float32)))


def embed(source: str | Path, config: FeaturizerConfig = WORDS) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Return the embedding of each token by its text, and the share of tokens that were found."""
    featurizer, examples = fitted(config)
    embeddings_VD, share = initial_embeddings(str(source), examples, featurizer, DIM, seed=0)
    assert embeddings_VD.dtype == np.float32
    return dict(zip(featurizer.vocabulary, embeddings_VD, strict=True)), share


def write_vec(folder: Path, *lines: str) -> Path:
    path = folder / "words.vec"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def row(*numbers: float) -> str:
    return " ".join(str(number) for number in (*numbers, *[0] * (DIM - len(numbers))))


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_random_rows_have_about_unit_norm_and_follow_the_seed() -> None:
    featurizer, examples = fitted(SUBWORDS)
    first, again, other = (initial_embeddings("random", examples, featurizer, 512, seed) for seed in (0, 0, 1))
    assert first[1] == 0
    assert (first[0] == again[0]).all()
    assert (first[0] != other[0]).any()
    np.testing.assert_allclose(np.linalg.norm(first[0], axis=1), 1, atol=0.2)


@pytest.mark.parametrize("packed", [False, True])
def test_text_vectors_reach_their_tokens_at_one_scale(tmp_path: Path, packed: bool) -> None:
    vec = write_vec(
        tmp_path, f"4 {DIM}", f"red {row(3)}", f"Shoes {row(0, 1)}", f"New-York {row(0, 0, 2)}", f"qq {row(9)}"
    )
    if packed:
        path = tmp_path / "words.vec.gz"
        path.write_bytes(gzip.compress(vec.read_bytes()))
        vec = path
    found, share = embed(vec)
    chance, _ = embed("random")
    scale = np.sqrt(3 / (9 + 1 + 4))
    np.testing.assert_allclose(found["red"], scale * np.eye(DIM)[0] * 3, rtol=1e-6)
    np.testing.assert_allclose(found["shoes"], scale * np.eye(DIM)[1], rtol=1e-6)
    np.testing.assert_allclose(found["new york"], scale * np.eye(DIM)[2] * 2, rtol=1e-6)
    assert share == pytest.approx(3 / len(found))
    for token in found.keys() - {"red", "shoes", "new york"}:
        assert (found[token] == chance[token]).all(), token


def test_of_words_that_fold_to_one_token_the_first_counts(tmp_path: Path) -> None:
    vec = write_vec(tmp_path, f"4 {DIM}", f"</s> {row(5)}", f"new {row(1)}", f"New {row(0, 1)}", f"new {row(0, 0, 1)}")
    found, _ = embed(vec)
    assert found["new"].tolist() == np.eye(DIM)[0].tolist()


def test_the_end_of_a_sentence_is_no_word(tmp_path: Path) -> None:
    featurizer, examples = fitted(WORDS, ["s t", "t s"])
    vec = write_vec(tmp_path, f"2 {DIM}", f"</s> {row(1)}", f"t {row(0, 1)}")
    assert initial_embeddings(str(vec), examples, featurizer, DIM, 0)[1] == 1 / featurizer.num_features


def test_vectors_of_no_known_token_leave_all_random(tmp_path: Path) -> None:
    found, share = embed(write_vec(tmp_path, f"1 {DIM}", f"zebra {row(1)}"))
    chance, _ = embed("random")
    assert share == 0
    assert all((found[token] == chance[token]).all() for token in chance)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"red {row(1)}"], r"words.vec:1: the first line is not the number of vectors"),
        ([], r"words.vec:1: the first line is not"),
        (["1 4", "red 1 0 0 0"], r"its vectors have 4 dimensions, and model.dim is 8. Pass --set model.dim=4"),
        ([f"2 {DIM}", f"zebra {row(1)}", "red 1 0"], r"words.vec:3: has 2 numbers after the word instead of 8"),
        (
            [f"2 {DIM}", f"red {row(1)}", "blue 1 0 0 x 0 0 0 0"],
            r"words.vec:2: between this line and line 3.*no number",
        ),
        ([f"1 {DIM}", "red nan 0 0 0 0 0 0 0"], "has a vector that is not finite"),
    ],
)
def test_bad_text_vectors_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        embed(write_vec(tmp_path, *lines))


def test_a_binary_model_gives_words_and_subwords_their_fasttext_vectors() -> None:
    found, share = embed(MODEL, SUBWORDS)
    known = ["red", "shoes", "blue", "car", "new", "bluest", "cafés", "~<bl", "~lues", "~fés>"]
    scale = np.linalg.norm(found["red"]) / np.linalg.norm(EXPECTED["red"])
    for token in known:
        np.testing.assert_allclose(
            found[token], scale * EXPECTED[token], rtol=1e-3, atol=1e-6 * float(scale), err_msg=token
        )
    chance, _ = embed("random", SUBWORDS)
    runs_of_words = [token for token in found if " " in token]
    assert share == pytest.approx(1 - len(runs_of_words) / len(found))
    assert all((found[token] == chance[token]).all() for token in runs_of_words)
    squares = [float(vector @ vector) for token, vector in found.items() if " " not in token]
    assert np.mean(squares) == pytest.approx(1, rel=1e-5)


def test_the_words_of_a_binary_model_are_read_in_order() -> None:
    model = FastTextModel.open(MODEL)
    assert [word.decode() for word in model.words] == list(EXPECTED)[: len(model.words)]
    assert (model.dim, model.min_ngram, model.max_ngram) == (DIM, 3, 4)
    assert len(model.vectors) == len(model.words) + 40


def damaged(folder: Path, position: int, replacement: bytes) -> Path:
    content = bytearray(MODEL.read_bytes())
    content[position : position + len(replacement)] = replacement
    path = folder / "model.bin"
    path.write_bytes(content)
    return path


# Positions in the file: the header is 8 bytes, the arguments 56, the dictionary's own header 28; the matrix is the last
# but one, and as long as the output matrix but for its rows.
def matrix_position() -> int:
    model = FastTextModel.open(MODEL)
    return MODEL.read_bytes().index(np.asarray(model.vectors[0]).tobytes()) - 17


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model.bin: is a quantised model. Pass the model from before"):
        embed(damaged(tmp_path, matrix_position(), b"\1"))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no fastText model of version 11 or 12"):
        embed(damaged(tmp_path, 0, b"PK\3\4"))


def test_a_matrix_of_another_size_than_the_dictionary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cut short or damaged .*it has 15 x 8 numbers for 14 words and 40 buckets x 8"
    ):
        embed(damaged(tmp_path, matrix_position() + 1, b"\x0f"))


@pytest.mark.parametrize("size", [0, 6, 50, 80, 150, 400, 600])
def test_a_binary_model_cut_anywhere_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(MODEL.read_bytes()[:size])
    with pytest.raises(DataError, match=r"model.bin: the file is cut short or damaged .* Copy or download the file"):
        embed(path)


def test_a_binary_model_of_other_dimensions_is_refused() -> None:
    featurizer, examples = fitted(WORDS)
    with pytest.raises(DataError, match=r"its vectors have 8 dimensions, and model\.dim is 16"):
        initial_embeddings(str(MODEL), examples, featurizer, 16, 0)


@pytest.mark.parametrize("name", ["missing.bin", "missing.vec", "missing.npy"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        embed(tmp_path / name)


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "model.ftz")
    with pytest.raises(DataError, match=r"model.ftz: is no embeddings file by its name"):
        embed(tmp_path / "model.ftz")


def test_an_array_is_taken_as_it_is(tmp_path: Path) -> None:
    featurizer, examples = fitted(WORDS)
    array = 3 * np.random.default_rng(0).random((featurizer.num_features, DIM))
    np.save(tmp_path / "rows.npy", array)
    embeddings_VD, share = initial_embeddings(str(tmp_path / "rows.npy"), examples, featurizer, DIM, 0)
    assert share == 1
    assert (embeddings_VD == array.astype(np.float32)).all()


def test_an_array_serves_data_without_names_and_word_vectors_do_not(tmp_path: Path) -> None:
    _, examples = fitted(WORDS)
    featurizer = IdFeaturizer(5)
    np.save(tmp_path / "rows.npy", np.ones((5, DIM), np.float32))
    embeddings_VD, _ = initial_embeddings(str(tmp_path / "rows.npy"), examples, featurizer, DIM, 0)
    assert embeddings_VD.tolist() == np.ones((5, DIM)).tolist()
    with pytest.raises(DataError, match="the features of this data have no names"):
        initial_embeddings(str(MODEL), examples, featurizer, DIM, 0)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((5, DIM), np.float32), r"has float32 \(5, 8\); the model needs floats \(\d+, 8\)"),
        (np.ones((14, DIM), np.int64), r"has int64"),
        (np.array([None]), "is no readable .npy file"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(tmp_path: Path, array: NDArray[np.generic], message: str) -> None:
    np.save(tmp_path / "rows.npy", array)
    with pytest.raises(DataError, match=message):
        embed(tmp_path / "rows.npy")


def topics(num_texts: int) -> tuple[list[str], list[str]]:
    """Make texts of four words from one of two topics, which have no word in common."""
    generator = np.random.default_rng(0)
    words = [[f"{topic}{i}" for i in range(20)] for topic in "ab"]
    texts = [" ".join(generator.choice(words[i % 2], 4, replace=False)) for i in range(num_texts)]
    return texts, [*words[0], *words[1]]


def test_the_corpus_puts_words_together_that_occur_together() -> None:
    texts, words = topics(300)
    featurizer, examples = fitted(FeaturizerConfig(1, 0, 0, 1), texts)
    embeddings_VD, share = initial_embeddings("corpus", examples, featurizer, 3, seed=0)
    assert share == 1
    np.testing.assert_allclose(np.linalg.norm(embeddings_VD, axis=1), 1, rtol=1e-5)
    vectors = embeddings_VD[featurizer.token_ids(words)]
    similarities = vectors @ vectors.T
    within = similarities[:20, :20].mean() + similarities[20:, 20:].mean()
    across = 2 * similarities[:20, 20:].mean()
    assert within > 1
    assert across < 0


def test_corpus_embeddings_are_the_singular_vectors_of_the_normalised_matrix() -> None:
    generator = np.random.default_rng(1)
    dense = generator.random((60, 20)) * (generator.random((60, 20)) < 0.3)
    dense[:, 4] = 0
    found = corpus_embeddings(csr_matrix(dense.astype(np.float32)), 6, seed=0)
    rows, columns = dense.sum(axis=1), np.maximum(dense.sum(axis=0), 1e-12)
    _, values, vectors = np.linalg.svd(dense / np.sqrt(np.outer(rows, columns)), full_matrices=False)
    expected = (vectors[1:7].T * values[1:7]) / np.sqrt(columns)[:, None]
    expected *= np.sign(vectors[1:7][np.arange(6), np.abs(vectors[1:7]).argmax(axis=1)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert not found[4].any(), "a token without a text"
    kept = np.arange(20) != 4
    np.testing.assert_allclose(found[kept], expected[kept], atol=1e-4)
    assert (found == corpus_embeddings(csr_matrix(dense.astype(np.float32)), 6, seed=0)).all()


def test_dimensions_beyond_the_rank_are_zero() -> None:
    found = corpus_embeddings(csr_matrix(np.eye(4, 9, dtype=np.float32) + np.eye(4, 9, 1, dtype=np.float32)), 8, seed=0)
    assert found.shape == (9, 8)
    assert not found[:, 3:].any()
    np.testing.assert_allclose(np.linalg.norm(found[:5], axis=1), 1, rtol=1e-5)
