"""The initial token embeddings: random, learnt from the training texts, or taken from elsewhere (paper, A.1).

Shapes: V vocabulary, F tokens found, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.readers import DataError
from astec.export.readers.lines import read_lines
from astec.trainer.data.examples import Examples
from astec.trainer.embeddings.corpus import corpus_embeddings
from astec.trainer.embeddings.distilled import distil
from astec.trainer.embeddings.fasttext import FastTextModel
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.numerics.device import seeded
from astec.trainer.settings.config import EMBEDDING_SUFFIXES

_CPU = torch.device("cpu")
_CHUNK_LINES = 50_000
_END_OF_SENTENCE = b"</s>"  # fastText's own token, which the featurizer would read as the word "s"
_SUBWORD_MARK = "~"

_Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Distinct tokens [F] and their vectors [F, D]."""


def initial_embeddings(
    source: str, examples: Examples, featurizer: Featurizer, dim: int, seed: int, device: torch.device = _CPU
) -> tuple[NDArray[np.float32], float]:
    """Return token embeddings, float32 [V, D], and the share of tokens that `source` knows; the others are random.

    The vectors of a `.vec` or `.bin` file or of an encoder are scaled by one factor, so that they are as long as random
    ones (about 1). A `.npy` file has a row for each token in the featurizer's order, and is used unchanged.

    Args:
        source: `random`, `corpus`, a fastText `.vec`, `.vec.gz` or `.bin` file, a `.npy` file, or the folder of a
            Hugging Face encoder.
        examples: the training texts.
        featurizer: knows the text of each token.
        dim: D, `model.dim`.
        seed: the seed of random embeddings and of the choice of texts.
        device: where an encoder reads the tokens.

    Raises:
        DataError: a file or folder that cannot be read or does not fit the model.
    """
    num_features = featurizer.num_features
    embeddings_VD = random_embeddings(num_features, dim, seeded(seed)).numpy()
    if source == "random":
        return embeddings_VD, 0.0
    if source == "corpus":
        learnt_VD = corpus_embeddings(examples.features(num_features), dim, seed)
        tokens_F = np.flatnonzero(learnt_VD.any(axis=1))
        vectors_FD = learnt_VD[tokens_F]
    else:
        tokens_F, vectors_FD = _read(Path(source), featurizer, dim, device)
    embeddings_VD[tokens_F] = vectors_FD
    return embeddings_VD, len(tokens_F) / num_features


def _read(path: Path, featurizer: Featurizer, dim: int, device: torch.device) -> _Found:
    if path.suffix == ".npy":
        return _read_npy(path, featurizer.num_features, dim)
    if not isinstance(featurizer, TextFeaturizer):
        problem = "has vectors of words, and the features of this data have no names"
        raise DataError(path, None, problem, "Pass a .npy file with a row per feature id, or data with names (Xf.txt)")
    if path.is_dir() or not (path.exists() or path.name.endswith(EMBEDDING_SUFFIXES)):
        tokens_F, vectors_FD = distil(path, featurizer, dim, device, "surrogate.embeddings")
    elif path.name.endswith(EMBEDDING_SUFFIXES):
        tokens_F, vectors_FD = (_read_bin if path.suffix == ".bin" else _read_vec)(path, featurizer, dim)
    else:
        suffixes = ", ".join(EMBEDDING_SUFFIXES)
        raise DataError(path, None, "is no embeddings file by its name", f"Pass a folder or one of {suffixes}")
    if not np.isfinite(vectors_FD).all():
        raise DataError(path, None, "has a vector that is not finite", "Train or download the vectors again")
    mean_square = float(np.square(vectors_FD, dtype=np.float64).sum(axis=1).mean()) if len(tokens_F) else 0.0
    return tokens_F, vectors_FD / np.float32(mean_square**0.5 or 1)


def _read_npy(path: Path, num_features: int, dim: int) -> _Found:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, None, f"is no readable .npy file ({error})", "Write it with numpy.save") from None
    if array.shape != (num_features, dim) or array.dtype.kind != "f":
        problem = f"has {array.dtype} {array.shape}; the model needs floats ({num_features}, {dim}): tokens x model.dim"
        raise DataError(path, None, problem, "Write one row per token, in the order of the run's vocabulary")
    vectors_VD = np.asarray(array, np.float32)
    if not np.isfinite(vectors_VD).all():
        raise DataError(path, None, "has a value that is not finite", "Write it again")
    return np.arange(num_features), vectors_VD


def _read_vec(path: Path, featurizer: TextFeaturizer, dim: int) -> _Found:
    """Read fastText's text format: a line with count and dimensions, then one line per word with its vector."""
    lines = read_lines(path)
    header = next(lines, b"").split()
    if len(header) != 2 or not all(number.isdigit() for number in header):
        problem = "the first line is not the number of vectors and of their dimensions"
        raise DataError(path, 1, problem, "Put that line before the vectors")
    _check_dim(path, int(header[1]), dim)
    owners = np.full(featurizer.num_features, -1, np.int64)
    tokens, vectors = [np.empty(0, np.int64)], [np.empty((0, dim), np.float32)]
    first_line = 2
    while chunk := list(islice(lines, _CHUNK_LINES)):
        words, _, rests = zip(*(line.partition(b" ") for line in chunk), strict=True)
        tokens_F, lines_F = _first_of_each(featurizer, words, first_line, owners)
        tokens.append(tokens_F)
        vectors.append(_parse_vectors(path, [rests[line] for line in lines_F], lines_F + first_line, dim))
        first_line += len(chunk)
    return np.concatenate(tokens), np.concatenate(vectors)


def _parse_vectors(path: Path, texts: list[bytes], lines_F: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    if not texts:
        return np.empty((0, dim), np.float32)
    for line, text in zip(lines_F.tolist(), texts, strict=True):
        if len(text.split()) != dim:
            problem = f"has {len(text.split())} numbers after the word instead of {dim}"
            raise DataError(path, line, problem, "Fix or remove the line")
    try:
        return np.loadtxt([text.decode("ascii", "replace") for text in texts], np.float32, comments=None, ndmin=2)
    except ValueError as error:
        problem = f"between this line and line {lines_F[-1]} is what is no number ({error})"
        raise DataError(path, int(lines_F[0]), problem, "Fix or remove the line") from None


def _read_bin(path: Path, featurizer: TextFeaturizer, dim: int) -> _Found:
    model = FastTextModel.open(path)
    _check_dim(path, model.dim, dim)
    words_V = np.full(featurizer.num_features, -1, np.int64)
    for begin in range(0, len(model.words), _CHUNK_LINES):
        _first_of_each(featurizer, model.words[begin : begin + _CHUNK_LINES], begin, words_V)
    spelt = list(_spell(featurizer, model, words_V))
    is_subword_V = np.fromiter((token.startswith(_SUBWORD_MARK) for token in featurizer.vocabulary), np.bool_)
    vectors_VD, is_found_V = model.token_vectors(spelt, words_V, is_subword_V)
    tokens_F = np.flatnonzero(is_found_V)
    return tokens_F, vectors_VD[tokens_F]


def _spell(featurizer: TextFeaturizer, model: FastTextModel, words_V: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield each token as the model spells it: a known word in the model's letter case; b"" for a run of words."""
    for token, word in zip(featurizer.vocabulary, words_V.tolist(), strict=True):
        if word >= 0:
            yield model.words[word]
        else:
            yield b"" if " " in token else token.removeprefix(_SUBWORD_MARK).encode()


def _first_of_each(
    featurizer: TextFeaturizer, words: Sequence[bytes], begin: int, owners_V: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find a word for tokens that have none yet.

    A token gets the first of `words` that the featurizer reads as that token. Since words are sorted by frequency, this
    is the most frequent spelling, such as "new" before "New". `owners_V` is updated with `begin` plus its position.

    Returns:
        The tokens [F], and the position in `words` of each token's word [F].
    """
    texts = ["" if word == _END_OF_SENTENCE else word.decode("utf-8", "replace") for word in words]
    tokens, positions = np.unique(featurizer.token_ids(texts), return_index=True)
    is_new = (tokens >= 0) & (owners_V[tokens] < 0)
    order = np.argsort(positions[is_new])
    tokens_F, positions_F = tokens[is_new][order].astype(np.int64), positions[is_new][order]
    owners_V[tokens_F] = begin + positions_F
    return tokens_F, positions_F


def _check_dim(path: Path, found: int, dim: int) -> None:
    if found != dim:
        problem = f"its vectors have {found} dimensions, and model.dim is {dim}"
        raise DataError(path, None, problem, f"Pass --set model.dim={found}")
