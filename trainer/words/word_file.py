"""A file of word vectors: words, and for each an int8 vector with a scale of its own.

The columns are principal components, those of the largest variance first, so that the first ones of them are the best
vectors of that size.

Shapes: F words, P principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from astec.export.artifact.text.featurizer import TextFeaturizer

_ENGLISH_FILE = "english.safetensors"
_LARGEST = 127


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Words and what they mean.

    Attributes:
        words: in alphabetical order, each once.
        vectors: float32 [F, P].
    """

    words: list[str]
    vectors: NDArray[np.float32]

    def of_tokens(self, featurizer: TextFeaturizer, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the tokens that are one of the words, rising, [tokens], and the first `dim` columns of their vectors.

        Of several words that the featurizer folds to the same token, the first one counts. Columns beyond P are zero.
        """
        tokens_F = featurizer.token_ids(self.words)
        tokens, rows = np.unique(tokens_F, return_index=True)
        rows, tokens = rows[tokens >= 0], tokens[tokens >= 0]
        vectors = np.zeros((len(tokens), dim), np.float32)
        vectors[:, : self.vectors.shape[1]] = self.vectors[rows, :dim]
        return tokens.astype(np.int64), vectors


def write_word_vectors(path: Path, words: WordVectors, about: dict[str, str]) -> None:
    """Write a file of word vectors.

    Args:
        path: of the file.
        words: words and vectors; each vector is rounded to 127 steps of its largest value.
        about: what the file says of its origin.
    """
    largest_F1 = np.abs(words.vectors).max(axis=1, keepdims=True)
    scales_F1 = (largest_F1 / _LARGEST).astype(np.float16)
    steps_FP = np.divide(words.vectors, scales_F1, out=np.zeros_like(words.vectors), where=scales_F1 > 0)
    arrays = {
        "vectors": np.clip(np.rint(steps_FP), -_LARGEST, _LARGEST).astype(np.int8),
        "scales": scales_F1,
        "words": np.frombuffer("\n".join(words.words).encode(), np.uint8),
    }
    save_file(arrays, path, about)


def read_word_vectors(path: Path) -> WordVectors:
    """Read a file that `write_word_vectors` wrote."""
    with safe_open(path, "numpy") as file:
        words = file.get_tensor("words").tobytes().decode().split("\n")
        return WordVectors(words, file.get_tensor("vectors").astype(np.float32) * file.get_tensor("scales"))


@cache
def english_words() -> WordVectors:
    """Return the English words that come with the package (NOTICE.md beside the file says where they come from)."""
    with as_file(files(__package__) / _ENGLISH_FILE) as path:
        return read_word_vectors(path)
