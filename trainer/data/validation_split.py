"""The validation split: rows that are held out of the training, and what decides which.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.bags import Bags
from astec.trainer.data.fingerprints import fingerprints
from astec.trainer.data.training_data import TrainingData
from astec.trainer.settings.config import ValidationSection

SplitKind = Literal["texts", "rows", "time", "file"]
REPEATED_TRAFFIC: Final = 0.25
"""A file with at least this share of rows that repeat another row's text is taken for traffic.

A log with a row for each click has far more, because queries come again. A list of texts has less: a few percent that
are equal by chance. Where the guess is wrong, the figures are wrong for that share of the rows.
"""


@dataclass(frozen=True, slots=True)
class ValidationSplit:
    """The rows of the data on both sides of the split, each ascending.

    Attributes:
        kind: how the rows were chosen; never auto.
        num_texts: distinct texts of the training file.
        repeated_share: share of the training file's rows whose text occurs in another row of it, too; of its clicks,
            if rows of the same text were joined.
        learnt: the rows to learn from, int64.
        held: the rows that are held out, int64.
    """

    kind: SplitKind
    num_texts: int
    repeated_share: float
    learnt: NDArray[np.int64]
    held: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DistinctTexts:
    """The distinct texts among N rows.

    Attributes:
        first: the first row of each distinct text, int64.
        counts: the number of rows of each distinct text, int64.
        text_of_row: the distinct text of each row, int64 [N].
        repeated_share: share of the rows whose text occurs in another row; rows without any token are not counted.
    """

    first: NDArray[np.int64]
    counts: NDArray[np.int64]
    text_of_row: NDArray[np.int64]
    repeated_share: float

    @classmethod
    def of(cls, bags: Bags) -> Self:
        """Find the distinct texts; texts are equal if their bags are."""
        _, first, text_N, counts = np.unique(
            fingerprints(bags), return_index=True, return_inverse=True, return_counts=True
        )
        is_repeated_N = (counts[text_N] > 1) & (bags.lengths() > 0)
        return cls(first, counts, text_N, float(is_repeated_N.mean()))

    def draw(self, size: int, seed: int) -> NDArray[np.int64]:
        """Draw texts with all their rows, at most `size` rows; return the rows, int64, ascending.

        A text that is drawn is new to the model: no row of it is learnt from. Every distinct text is drawn with the
        same probability, however many rows it has, so that the drawn rows repeat texts as often as the file does. A
        text with more rows than are still to be drawn is left out.
        """
        order = np.random.default_rng(seed).permutation(len(self.text_of_row))
        turn_N = np.empty(len(order), np.int64)
        turn_N[order] = np.arange(len(order))
        drawn, left = np.zeros(len(self.first), np.bool_), size
        # A text's turn is that of its first row in the file: having more rows does not make an early turn more likely.
        for text in np.argsort(turn_N[self.first]).tolist():
            if self.counts[text] <= left:
                drawn[text], left = True, left - self.counts[text]
            if not left:
                break
        return np.flatnonzero(drawn[self.text_of_row] if drawn.any() else turn_N < size)


def split_validation(data: TrainingData, section: ValidationSection, seed: int) -> ValidationSplit:
    """Split the texts of the data as the settings ask; `auto` is settled by the data.

    Args:
        data: all texts; labels' own texts are on neither side.
        section: kind and size of the split.
        seed: decides which texts or rows are drawn.
    """
    rows = np.arange(data.num_texts - data.num_valid_texts)
    texts = DistinctTexts.of(data.examples.bags.take(rows))
    kind = _settle(data, section, texts.repeated_share)
    size = section.size(data.num_texts, data.num_valid_texts)
    if kind == "texts":
        held = texts.draw(size, seed)
    elif kind == "rows":
        held = np.sort(np.random.default_rng(seed).permutation(rows)[:size])
    else:
        held = last_rows(data, section)
    learnt = np.setdiff1d(np.arange(data.num_texts), held, assume_unique=True)
    repeated_share = texts.repeated_share if data.traffic is None else data.traffic.repeated_share
    return ValidationSplit(kind, len(texts.first), repeated_share, learnt, held)


def last_rows(data: TrainingData, section: ValidationSection) -> NDArray[np.int64]:
    """Return the rows that `time` and `file` hold out, int64, ascending: the last ones of the data."""
    size = section.size(data.num_texts, data.num_valid_texts)
    return np.arange(data.num_texts - size, data.num_texts)


def _settle(data: TrainingData, section: ValidationSection, repeated_share: float) -> SplitKind:
    if data.num_valid_texts:
        return "file"
    if data.traffic is not None and section.split in ("auto", "rows"):
        return "texts"  # each text is one row
    if section.split == "auto":
        return "rows" if repeated_share >= REPEATED_TRAFFIC else "texts"
    return section.split
