"""The CSV rows of a batch of rankings, written by one kernel from the arrays of labels and scores.

The CSV module of Python takes a tuple with a string and three numbers for each label, which it took longer to make than
to rank the label.

Shapes: B queries, K ranks, L labels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.server.engine.numbers_as_text import put_byte, put_bytes, put_integer, put_score
from astec.server.engine.predictor import Rankings

_NUMBER_BYTES = 20  # The most bytes of a number of a row and the comma after it.
_QUOTE, _COMMA, _NEWLINE = ord('"'), ord(","), ord("\n")
_EMPTY_FIELD = b',""'

_Texts = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""The blob and the offsets of a `TextTable`."""


def to_csv(
    first_row: int, queries: TextTable, rankings: Rankings, labels: TextTable, probabilities_BK: NDArray[np.float32]
) -> bytes:
    """Return one row for each label of each query: row, query, rank, label id, label, score and maybe probability.

    Every text is quoted. A query without labels has one row, whose fields are empty from the rank on. Numbers are
    written as in JSON (`to_json`).

    Args:
        first_row: The number of the first query among all queries, from 1.
        queries: The texts of the queries, [B].
        rankings: Label ids and scores, [B, K]; a label id of -1 means no further label.
        labels: The texts of the labels, [L].
        probabilities_BK: The probabilities of the labels; [0, 0] if they are not requested.
    """
    texts = ((queries.blob, queries.offsets), (labels.blob, labels.offsets))
    return _write(first_row, *texts, *rankings, probabilities_BK).tobytes()


@njit(cache=True, nogil=True)
def _write(
    first_row: int,
    queries: _Texts,
    labels: _Texts,
    label_ids_BK: NDArray[np.int64],
    scores_BK: NDArray[np.float32],
    probabilities_BK: NDArray[np.float32],
) -> NDArray[np.uint8]:
    num_queries, num_ranks = label_ids_BK.shape
    has_probabilities = len(probabilities_BK) > 0
    buffer, at = np.empty(_most_bytes(queries, labels, label_ids_BK), np.uint8), 0
    for query in range(num_queries):
        begin = at
        at = put_byte(buffer, put_integer(buffer, at, first_row + query, 1), _COMMA)
        at = _put_text(buffer, at, queries, query)
        end = at
        for rank in range(num_ranks):
            label = label_ids_BK[query, rank]
            if label < 0:
                break
            if rank:
                at = put_byte(buffer, at, _NEWLINE)
                buffer[at : at + end - begin] = buffer[begin:end]
                at += end - begin
            at = put_integer(buffer, put_byte(buffer, at, _COMMA), rank + 1, 1)
            at = put_integer(buffer, put_byte(buffer, at, _COMMA), label, 1)
            at = _put_text(buffer, put_byte(buffer, at, _COMMA), labels, label)
            at = put_score(buffer, put_byte(buffer, at, _COMMA), scores_BK[query, rank])
            if has_probabilities:
                at = put_score(buffer, put_byte(buffer, at, _COMMA), probabilities_BK[query, rank])
        if at == end:
            for _ in range(5 if has_probabilities else 4):
                at = put_bytes(buffer, at, _EMPTY_FIELD)
        at = put_byte(buffer, at, _NEWLINE)
    return buffer[:at]


@njit(cache=True, nogil=True)
def _most_bytes(queries: _Texts, labels: _Texts, label_ids_BK: NDArray[np.int64]) -> int:
    """Return an upper bound of the bytes of all rows: a quote in a text becomes two."""
    num_queries, num_ranks = label_ids_BK.shape
    most = 0
    for query in range(num_queries):
        of_row = 6 * _NUMBER_BYTES + 2 * (queries[1][query + 1] - queries[1][query])
        most += of_row
        for rank in range(num_ranks):
            label = label_ids_BK[query, rank]
            if label >= 0:
                most += of_row + 2 * (labels[1][label + 1] - labels[1][label])
    return most


@njit(cache=True, nogil=True)
def _put_text(buffer: NDArray[np.uint8], at: int, texts: _Texts, row: int) -> int:
    """Write a text in quotes."""
    blob, offsets = texts
    at = put_byte(buffer, at, _QUOTE)
    for i in range(offsets[row], offsets[row + 1]):
        if blob[i] == _QUOTE:
            at = put_byte(buffer, at, _QUOTE)
        at = put_byte(buffer, at, blob[i])
    return put_byte(buffer, at, _QUOTE)
