"""Word vectors distilled from a pretrained encoder: what it makes of each word alone, as in model2vec.

They are reduced to their principal components (Tulkens and van Dongen, 2024). A rare word weighs more than a frequent
one by its IDF in the bag of a text. Only training needs the encoder.

Shapes: V tokens, W words and runs of words, F of them that the encoder reads, B of them at a time, T pieces of the
longest, H dimensions of the encoder, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.pieces import PieceReader
from astec.export.artifact.text.words import Sequences
from astec.export.readers import DataError
from astec.trainer.encoders.pretrained import load_pretrained, read_tokenizer

_TOKENS_AT_ONCE = 256
_MOST_PIECES = 32
_CHARACTERS_MARK = "~"  # begins the name of a run of characters, and no word


def distil(
    folder: Path, featurizer: TextFeaturizer, dim: int, device: torch.device, setting: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the tokens [F] that the encoder in `folder` reads, and their vectors [F, D].

    Words and runs of words are read alike, each as a text of its own. Runs of characters are not read: as texts, most
    mean something else than the words that they are part of. Columns beyond the encoder's dimensions are zero.

    Raises:
        DataError: the folder, which `setting` names, has no encoder that can be read.
    """
    words_W = [number for number, token in enumerate(featurizer.vocabulary) if not token.startswith(_CHARACTERS_MARK)]
    texts = [featurizer.vocabulary[number] for number in words_W]
    known_F, vectors_FD = distil_texts(folder, texts, dim, device, setting)
    return np.array(words_W, np.int64)[known_F], vectors_FD


def distil_texts(
    folder: Path, texts_W: Sequence[str], dim: int, device: torch.device, setting: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the positions [F] of the texts that the encoder in `folder` reads, and their vectors [F, D].

    Raises:
        DataError: the folder, which `setting` names, has no encoder that can be read.
    """
    try:
        reader = PieceReader(read_tokenizer(str(folder), setting), _MOST_PIECES, max(map(len, texts_W), default=1))
        model = load_pretrained(str(folder), setting).to(device)
    except ValueError as error:
        raise DataError(folder, None, f"has no encoder that can be read: {error}", "Pass another folder") from error
    pieces = reader.read(texts_W)
    known_F = np.flatnonzero(pieces.lengths())
    return known_F, _principal_components(_encode(model, pieces, device)[known_F], dim)


@torch.no_grad()
def _encode(model: Any, pieces: Sequences, device: torch.device) -> NDArray[np.float32]:  # noqa: ANN401 - see `load_pretrained`
    """Return the mean of the last layer over the pieces of each word, [W, H]; zeros for a word without pieces."""
    lengths_W = pieces.lengths()
    vectors_WH = np.zeros((len(pieces), model.config.hidden_size), np.float32)
    known = np.flatnonzero(lengths_W)
    by_length = known[np.argsort(lengths_W[known], kind="stable")]  # so that a batch has little padding
    for begin in range(0, len(by_length), _TOKENS_AT_ONCE):
        rows_B = by_length[begin : begin + _TOKENS_AT_ONCE]
        width = int(lengths_W[rows_B].max())
        ids_BT = torch.from_numpy(pieces.take(rows_B).padded(width).astype(np.int64)).to(device)
        mask_BT = (torch.arange(width) < torch.from_numpy(lengths_W[rows_B])[:, None]).to(device, torch.float32)
        last_BTH = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        mean_BH = (last_BTH * mask_BT[:, :, None]).sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)
        vectors_WH[rows_B] = mean_BH.cpu().numpy()
    return vectors_WH


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
