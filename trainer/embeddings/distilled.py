"""Token vectors distilled from a pretrained encoder: what it makes of each token alone.

The vectors are reduced to their principal components, and those of frequent tokens are shortened, as in model2vec
(Tulkens and van Dongen, 2024). Only training needs the encoder.

Shapes: V tokens, F tokens that the encoder reads, U distinct texts of tokens, B of them at a time, T pieces of the
longest, H dimensions of the encoder, D dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.pieces import PieceReader
from astec.export.artifact.text.words import Sequences
from astec.trainer.encoders.pretrained import load_pretrained, read_tokenizer

_SETTING = "surrogate.embeddings"
_TOKENS_AT_ONCE = 256
_MOST_PIECES = 32
_SMOOTHING = 1e-3  # a of the smooth inverse frequency a / (a + p) (Arora, Liang and Ma, ICLR 2017)
_MARKS = str.maketrans("", "", "~<>")  # of character n-grams, which no word contains


def distil(
    folder: Path, featurizer: TextFeaturizer, dim: int, device: torch.device
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the tokens [F] that the encoder in `folder` reads, and their vectors [F, D].

    Words, runs of words and character n-grams are read alike, each as a text of its own. Columns beyond the encoder's
    dimensions are zero.

    Raises:
        ValueError: the folder has no encoder that can be read.
    """
    reader = PieceReader(read_tokenizer(str(folder), _SETTING), _MOST_PIECES, featurizer.config.max_chars)
    model = load_pretrained(str(folder), _SETTING).to(device)
    texts = np.array([token.translate(_MARKS) for token in featurizer.vocabulary], dtype=object)
    texts_U, text_of_V = np.unique(texts, return_inverse=True)
    pieces = reader.read(texts_U.tolist())
    tokens_F = np.flatnonzero(pieces.lengths()[text_of_V])
    vectors_FH = _encode(model, pieces, device)[text_of_V[tokens_F]]
    return tokens_F, _principal_components(vectors_FH, dim) * _weights(featurizer.idf)[tokens_F, None]


@torch.no_grad()
def _encode(model: Any, pieces: Sequences, device: torch.device) -> NDArray[np.float32]:  # noqa: ANN401 - see `load_pretrained`
    """Return the mean of the last layer over the pieces of each text, [U, H]; zeros for a text without pieces."""
    lengths_U = pieces.lengths()
    vectors_UH = np.zeros((len(pieces), model.config.hidden_size), np.float32)
    known = np.flatnonzero(lengths_U)
    by_length = known[np.argsort(lengths_U[known], kind="stable")]  # so that a batch has little padding
    for begin in range(0, len(by_length), _TOKENS_AT_ONCE):
        rows_B = by_length[begin : begin + _TOKENS_AT_ONCE]
        width = int(lengths_U[rows_B].max())
        ids_BT = torch.from_numpy(pieces.take(rows_B).padded(width).astype(np.int64)).to(device)
        mask_BT = (torch.arange(width) < torch.from_numpy(lengths_U[rows_B])[:, None]).to(device, torch.float32)
        last_BTH = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        mean_BH = (last_BTH * mask_BT[:, :, None]).sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)
        vectors_UH[rows_B] = mean_BH.cpu().numpy()
    return vectors_UH


def _principal_components(vectors_FH: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Project the vectors less their mean onto their leading components, [F, D].

    Signs are fixed: the largest entry of each axis is positive.
    """
    centred_FH = vectors_FH - vectors_FH.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, axes_HH = np.linalg.eigh((centred_FH.T @ centred_FH).astype(np.float64))
    axes_HK = axes_HH[:, ::-1][:, :dim]  # eigenvalues come rising
    axes_HK = axes_HK * np.sign(axes_HK[np.abs(axes_HK).argmax(axis=0), np.arange(axes_HK.shape[1])])
    projected_FD = np.zeros((len(vectors_FH), dim), np.float32)
    projected_FD[:, : axes_HK.shape[1]] = centred_FH @ axes_HK.astype(np.float32)
    return projected_FD


def _weights(idf_V: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smooth inverse frequency of each token, [V]: near 1 for rare tokens, less for frequent ones."""
    shares_V = np.exp(1 - idf_V.astype(np.float64))  # of the texts, as the IDF is ln(1 / share) + 1
    weights_V: NDArray[np.float32] = (_SMOOTHING / (_SMOOTHING + shares_V / shares_V.sum())).astype(np.float32)
    return weights_V
