"""Sparse rows of the extreme classification repository: `12:0.5 37:1.25`, and the headers above them."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from astec.export.artifact.text.bags import Bag
from astec.export.readers.errors import BadLineError

# Possessive (`++`): a line of 16 MiB that matches almost must neither take the square of its length nor a stack of it.
_PAIR: Final = r"\d{1,18}+:[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+"
_is_pair = re.compile(_PAIR, re.ASCII).fullmatch
_is_row = re.compile(rf"\s*+(?:{_PAIR}(?:\s++|$))*+", re.ASCII).fullmatch
_is_header = re.compile(r"\s*\d{1,18}(?:\s+\d{1,18}){1,2}\s*", re.ASCII).fullmatch
_looks_like_row = re.compile(r"\s*+(?:\d++(?:,\d++)*+(?=\s|$))?+(?:\s*+\d++:\S++)*+\s*+", re.ASCII).fullmatch

MAX_FEATURES: Final = int(np.iinfo(np.int32).max)
_MAX_VALUE: Final = float(np.finfo(np.float32).max)


def parse_header(line: str) -> tuple[int, ...]:
    """Return the two or three counts of a header line, () where it is none."""
    return tuple(map(int, line.split())) if _is_header(line) else ()


def looks_like_row(line: str) -> bool:
    """Whether a line has the outline of a sparse row, with label ids before it or not."""
    return _looks_like_row(line) is not None


def parse_row(line: str, size: int, noun: str) -> tuple[list[int], list[float]]:
    """Read ids and values of one row.

    Args:
        line: `id:value id:value ...`, maybe empty.
        size: ids lie below it.
        noun: what the ids are, for the message.

    Raises:
        BadLineError: a malformed pair, an id out of range or twice, a value that no float32 can hold.
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
    """Read the features of one row.

    Raises:
        BadLineError: as `parse_row`.
    """
    ids, weights = parse_row(line, num_features, "feature")
    return Bag(np.array(ids, np.int32), np.array(weights, np.float32))


def check_ids(ids: list[int], size: int, noun: str) -> None:
    """Refuse ids that the header has no room for.

    Raises:
        BadLineError: an id of `size` or more.
    """
    if ids and max(ids) >= size:
        raise BadLineError(f"{noun} id {max(ids)} is not below {size}, the number of {noun}s in the header")


def _first_repeated(ids: list[int]) -> int:
    """The id that occurs again first; one does."""
    seen: set[int] = set()
    position = 0
    while ids[position] not in seen:
        seen.add(ids[position])
        position += 1
    return ids[position]


def shortened(word: str) -> str:
    """Quote a word, cut where it would flood a message."""
    return repr(word if len(word) <= 40 else word[:40] + "...")
