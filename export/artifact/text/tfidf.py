"""The kernel that turns folded texts into bags of tokens with TF-IDF weights.

Shapes: B texts, T tokens of all texts together, V vocabulary, S slots of the token table.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.hashing import first_slot
from astec.export.artifact.text.token_table import find
from astec.export.artifact.text.tokens import Codes, Ngrams, longest_text, max_tokens, scan_text


def inverse_document_frequency(df_V: NDArray[np.int64], num_texts: int) -> NDArray[np.float32]:
    """Return ln((1 + texts) / (1 + texts with the token)) + 1 of each token, float32 [V]."""
    return (np.log((1 + num_texts) / (1 + df_V)) + 1).astype(np.float32)


@njit(cache=True, nogil=True)
def featurize(
    codes: Codes,
    num_texts: int,
    table_S: NDArray[np.uint64],
    idf_V: NDArray[np.float32],
    ngrams: Ngrams,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the TF-IDF bags of B texts: token ids [T] in order of appearance, weights [T] and offsets [B + 1]."""
    largest = max_tokens(longest_text(codes), ngrams)
    bound = max_tokens(len(codes), ngrams)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from a token to its position in the output. A position before the current text's output counts as a
    # free slot, so that the table need not be cleared between texts.
    positions = np.full(capacity, -1, np.int64)
    hashes, ids, weights = np.empty(largest, np.uint64), np.empty(bound, np.int32), np.empty(bound, np.float32)
    offsets = np.zeros(num_texts + 1, np.int64)
    position, size = 0, 0
    for row in range(num_texts):
        position, num_tokens = scan_text(codes, position, ngrams, hashes, 0, None)
        size = _count_known(hashes[:num_tokens], table_S, positions, ids, weights, size)
        _weigh(ids[offsets[row] : size], weights[offsets[row] : size], idf_V)
        offsets[row + 1] = size
    return ids[:size].copy(), weights[:size].copy(), offsets


@njit(cache=True, nogil=True)
def _count_known(
    hashes: NDArray[np.uint64],
    table_S: NDArray[np.uint64],
    positions: NDArray[np.int64],
    ids: NDArray[np.int32],
    counts: NDArray[np.float32],
    begin: int,
) -> int:
    """Append the distinct known tokens of a text, and the number of times each occurs, from `begin` on.

    Returns:
        The new size of the output.
    """
    size, mask = begin, len(positions) - 1
    for h in hashes:
        token = int(find(h, table_S))
        if token < 0:
            continue
        slot = first_slot(token, mask)
        while positions[slot] >= begin and ids[positions[slot]] != token:
            slot = (slot + 1) & mask
        if positions[slot] < begin:
            positions[slot], ids[size], counts[size] = size, token, 0
            size += 1
        counts[positions[slot]] += 1
    return size


@njit(cache=True, nogil=True)
def _weigh(ids: NDArray[np.int32], weights: NDArray[np.float32], idf_V: NDArray[np.float32]) -> None:
    """Turn the counts tf of one text into weights (1 + ln tf) * idf with an L2 norm of 1."""
    squares = 0.0
    for i in range(len(ids)):
        weight = np.float64(idf_V[ids[i]])
        if weights[i] > 1:  # most tokens occur once, and ln 1 is 0
            weight *= 1.0 + np.log(np.float64(weights[i]))
        weights[i] = weight
        squares += weight * weight
    scale = 1.0 / np.sqrt(squares) if squares > 0.0 else 0.0
    for i in range(len(ids)):
        weights[i] *= scale
