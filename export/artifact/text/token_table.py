"""An open-addressing hash table from the hash of a token to its id, one memory-mapped array of 64-bit slots.

The low bits of a slot hold a token's id, the high bits the high bits of its hash. The low bits of the hash choose the
slot, so that little of the hash is lost, and looking up a token touches one cache line.

Shapes: V tokens, S slots (a power of two, more than 2V), B texts, T hashes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.text.tokens import Codes, hash_text

_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)


def build_table(hashes_V: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Build the table of tokens 0..V-1, uint64 [S]; of tokens with equal hashes, the first is kept."""
    num_slots = 2
    while num_slots <= 2 * len(hashes_V):
        num_slots *= 2
    table_S = np.full(num_slots, _FREE)
    _fill(hashes_V, table_S)
    return table_S


def check_table(table_S: NDArray[np.uint64], num_tokens: int) -> None:
    """Raise ValueError unless `find` can search the table, as it can any table of `build_table` for so many tokens."""
    num_slots = len(table_S)
    if table_S.dtype != np.uint64 or table_S.ndim != 1 or num_slots & (num_slots - 1) or num_slots <= 2 * num_tokens:
        raise ValueError(
            f"a table of {num_tokens} tokens is uint64 [S], S a power of two above {2 * num_tokens}, "
            f"not {table_S.dtype} {table_S.shape}"
        )
    taken = table_S[table_S != _FREE]
    if len(taken) > num_tokens:
        raise ValueError(f"{len(taken)} slots are taken, and there are {num_tokens} tokens")
    if len(taken) and (last := int((taken & np.uint64(num_slots // 2 - 1)).max())) >= num_tokens:
        raise ValueError(f"a slot holds token {last} of {num_tokens}")


@njit(cache=True)
def _fill(hashes_V: NDArray[np.uint64], table_S: NDArray[np.uint64]) -> None:
    slot_mask = np.uint64(len(table_S) - 1)
    id_mask = slot_mask >> _ONE
    for token in range(len(hashes_V)):
        slot = hashes_V[token] & slot_mask
        while table_S[slot] != _FREE and (table_S[slot] ^ hashes_V[token]) > id_mask:
            slot = (slot + _ONE) & slot_mask
        if table_S[slot] == _FREE:
            table_S[slot] = (hashes_V[token] & ~id_mask) | np.uint64(token)


@njit(cache=True, nogil=True, inline="always")
def find(h: np.uint64, table_S: NDArray[np.uint64]) -> np.int64:
    """Look up a hash: the token, -1 where there is none."""
    slot_mask = np.uint64(len(table_S) - 1)
    id_mask = slot_mask >> _ONE  # no token id has all these bits set, as a free slot has
    slot = h & slot_mask
    while table_S[slot] != _FREE:
        if (table_S[slot] ^ h) <= id_mask:
            return np.int64(table_S[slot] & id_mask)
        slot = (slot + _ONE) & slot_mask
    return np.int64(-1)


@njit(cache=True)
def hash_texts(codes: Codes, num_texts: int) -> NDArray[np.uint64]:
    """Return the hash of each whole text as one token, uint64 [B]."""
    hashes, position = np.empty(num_texts, np.uint64), 0
    for row in range(num_texts):
        position, hashes[row] = hash_text(codes, position)
    return hashes


@njit(cache=True)
def look_up(codes: Codes, num_texts: int, table_S: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Look up each whole text as one token: int32 [B], -1 where there is none."""
    tokens, position = np.empty(num_texts, np.int32), 0
    for row in range(num_texts):
        position, h = hash_text(codes, position)
        tokens[row] = find(h, table_S)
    return tokens


@njit(cache=True, nogil=True)
def find_all(hashes_T: NDArray[np.uint64], table_S: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Look up each hash: the token, int32 [T], -1 where there is none."""
    tokens_T = np.empty(len(hashes_T), np.int32)
    for i in range(len(hashes_T)):
        tokens_T[i] = find(hashes_T[i], table_S)
    return tokens_T
