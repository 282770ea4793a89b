"""Sparse rows of the extreme classification repository: `12:0.5 37:1.25`, and the headers above them."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from astec.export.artifact.text.bags import Bag
from astec.export.readers.errors import BadLineError

# Possessive (`++`): a line of 16 MiB that almost matches must take neither quadratic time nor a stack of its length.
_PAIR: Final = r"\d{1,18}+:[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+"
_is_pair = re.compile(_PAIR, re.ASCII).fullmatch
_is_row = re.compile(rf"\s*+(?:{_PAIR}(?:\s++|$))*+", re.ASCII).fullmatch
_is_header = re.compile(r"\s*\d{1,18}(?:\s+\d{1,18}){1,2}\s*", re.ASCII).fullmatch
_looks_like_row = re.compile(r"\s*+(?:\d++(?:,\d++)*+(?=\s|$))?+(?:\s*+\d++:\S++)*+\s*+", re.ASCII).fullmatch

MAX_FEATURES: Final = int(np.iinfo(np.int32).max)
_MAX_VALUE: Final = float(np.finfo(np.float32).max)


def parse_header(line: str) -> tuple[int, ...]:
    """Return the two or three counts of a header line; () for a line that is not a header."""
    return tuple(map(int, line.split())) if _is_header(line) else ()


def looks_like_row(line: str) -> bool:
    """Return whether a line looks like a sparse row, with label ids before it or not."""
    return _looks_like_row(line) is not None


def largest_ids(line: str) -> tuple[int, int] | None:
    """Return the largest label id and feature id of `3,17 12:0.5 37:1.25`, -1 where there is none; None for no row."""
    if not _looks_like_row(line):
        return None
    first, _, rest = line.strip().partition(" ")
    labels, features = ("", line) if ":" in first else (first, rest)
    try:
        ids = [int(pair.partition(":")[0]) for pair in features.split()]
        return max(map(int, filter(None, labels.split(","))), default=-1), max(ids, default=-1)
    except ValueError:  # an id of over 4300 digits
        return None


def parse_row(line: str, size: int, noun: str) -> tuple[list[int], list[float]]:
    """Read the ids and values of one row.

    Args:
        line: `id:value id:value ...`; may be empty.
        size: the ids must be below it.
        noun: the name for an id in error messages, "feature" or "label".

    Raises:
        BadLineError: a pair is malformed, an id is out of range or occurs twice, or a value does not fit float32.
    """
    if not _is_row(line):
        bad = next(pair for pair in line.split() if not _is_pair(pair))
        raise BadLineError(f"{shortened(bad)} is not a {noun} id, a colon and a finite number")
    parts = line.replace(":", " ").split()
    ids = list(map(int, parts[0::2]))
    values = list(map(float, parts[1::2]))
    check_ids(ids, size, noun)
    if len(set(ids)) != len(ids):
        raise BadLineError(f"{noun} id {_first_repeated(ids)} occurs twice")
    if values and max(map(abs, values)) > _MAX_VALUE:
        raise BadLineError(f"the value {max(values, key=abs):g} is beyond the range of float32")
    return ids, values


def parse_bag(line: str, num_features: int) -> Bag:
    """Read the features of one row as a bag.

    Raises:
        BadLineError: the row is malformed, see `parse_row`.
    """
    ids, weights = parse_row(line, num_features, "feature")
    return Bag(np.array(ids, np.int32), np.array(weights, np.float32))


def check_ids(ids: list[int], size: int, noun: str, place: str = "the header") -> None:
    """Check that the ids are below the number that the header, or another place, gives.

    Raises:
        BadLineError: an id is `size` or more.
    """
    if ids and max(ids) >= size:
        raise BadLineError(f"{noun} id {max(ids)} is not below {size}, the number of {noun}s in {place}")


def _first_repeated(ids: list[int]) -> int:
    """Return the first id that has occurred before; there must be one."""
    seen: set[int] = set()
    position = 0
    while ids[position] not in seen:
        seen.add(ids[position])
        position += 1
    return ids[position]


def shortened(word: str) -> str:
    """Quote a word for a message, cut after 40 characters."""
    return repr(word if len(word) <= 40 else word[:40] + "...")
