"""The JSON arrays of a batch of rankings, written by one kernel from the arrays of labels and scores.

A JSON library needs a string, a dictionary and two numbers as Python objects for each label, and took 3 us a query; in
a batch of 8 the kernel takes a third of that.

Shapes: B queries, K ranks, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.prefetch import prefetch
from astec.export.artifact.labels.text_table import TextTable
from astec.server.engine.numbers_as_text import put_byte, put_bytes, put_integer, put_score
from astec.server.engine.predictor import Rankings

# Bytes of a label without its text: the keys, and a label id, a score and a probability of up to 19 digits each.
_LABEL_BYTES = 130
_ESCAPED_BYTES = 6  # The most bytes that a byte of text becomes: \u001f
_QUOTE, _BACKSLASH, _FIRST_PRINTABLE = ord('"'), ord("\\"), ord(" ")
_OPEN, _CLOSE, _COMMA, _NEWLINE = ord("["), ord("]"), ord(","), ord("\n")
_ID, _TEXT, _SCORE, _PROBABILITY = b'{"label_id":', b',"label":"', b'","score":', b',"probability":'
_END, _CONTROL = b"}", b"\\u00"
_HEX = b"0123456789abcdef"
NO_PROBABILITIES = np.empty((0, 0), np.float32)


def to_json(
    rankings: Rankings,
    most: Sequence[int],
    least: Sequence[float],
    texts: TextTable,
    probabilities_BK: NDArray[np.float32] = NO_PROBABILITIES,
) -> list[bytes]:
    """Return the JSON array of the labels of each query.

    A score is written with the fewest decimals (at least six, at most 17) that tell its float32 from any other, without
    zeros at the end. Texts are written in UTF-8, with escapes where JSON requires them.

    Args:
        rankings: The labels and scores of B queries, B > 0.
        most: The most labels of each query.
        least: The lowest score of each query; labels with a lower one are left out.
        texts: The texts of the labels.
        probabilities_BK: The probability of each label, NaN for queries without probabilities; [0, 0] if no query has
            any.
    """
    lines = _write(*rankings, np.array(most), np.array(least, np.float32), texts.blob, texts.offsets, probabilities_BK)
    return lines.tobytes().split(b"\n")


@njit(cache=True, nogil=True)
def _write(
    label_ids_BK: NDArray[np.int64],
    scores_BK: NDArray[np.float32],
    most_B: NDArray[np.int64],
    least_B: NDArray[np.float32],
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    probabilities_BK: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Return the arrays of B queries, separated by newlines, which strings in JSON never contain."""
    num_queries, num_ranks = label_ids_BK.shape
    bound = 0
    for query in range(num_queries):
        bound += 3  # brackets and newline
        for rank in range(num_ranks):
            label = label_ids_BK[query, rank]
            if label >= 0:
                prefetch(blob, offsets[label], offsets[label + 1])
                bound += _LABEL_BYTES + _ESCAPED_BYTES * (offsets[label + 1] - offsets[label])
    buffer, at = np.empty(bound, np.uint8), 0
    for query in range(num_queries):
        if query > 0:
            at = put_byte(buffer, at, _NEWLINE)
        at = put_byte(buffer, at, _OPEN)
        for rank in range(min(num_ranks, most_B[query])):
            label, score = label_ids_BK[query, rank], scores_BK[query, rank]
            if label < 0 or score < least_B[query]:
                break
            if rank > 0:
                at = put_byte(buffer, at, _COMMA)
            at = put_integer(buffer, put_bytes(buffer, at, _ID), label, 1)
            at = _put_text(buffer, put_bytes(buffer, at, _TEXT), blob, offsets[label], offsets[label + 1])
            at = put_score(buffer, put_bytes(buffer, at, _SCORE), score)
            if len(probabilities_BK) > 0 and not np.isnan(probabilities_BK[query, rank]):
                at = put_score(buffer, put_bytes(buffer, at, _PROBABILITY), probabilities_BK[query, rank])
            at = put_bytes(buffer, at, _END)
        at = put_byte(buffer, at, _CLOSE)
    return buffer[:at]


@njit(nogil=True)
def _put_text(buffer: NDArray[np.uint8], at: int, blob: NDArray[np.uint8], begin: int, end: int) -> int:
    for i in range(begin, end):
        byte = blob[i]
        if byte < _FIRST_PRINTABLE:
            at = put_bytes(buffer, at, _CONTROL)
            at = put_byte(buffer, put_byte(buffer, at, _HEX[byte >> 4]), _HEX[byte & 15])
            continue
        if byte in (_QUOTE, _BACKSLASH):
            at = put_byte(buffer, at, _BACKSLASH)
        at = put_byte(buffer, at, byte)
    return at
