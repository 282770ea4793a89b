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

HELD_OUT: Final = 0
NEW: Final = 1
LEARNT: Final = 2


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

    def draw(self, size: int, seed: int, ranks_N: NDArray[np.int8] | None = None) -> NDArray[np.int64]:
        """Draw texts with all their rows, at most `size` rows; return the rows, int64, ascending.

        Texts of a lower rank are drawn before those of a higher one; equal texts have equal ranks.

        A text that is drawn is new to the model: no row of it is learnt from. Every distinct text is drawn with the
        same probability, however many rows it has, so that the drawn rows repeat texts as often as the file does. A
        text with more rows than are still to be drawn is left out.
        """
        order = np.random.default_rng(seed).permutation(len(self.text_of_row))
        turn_N = np.empty(len(order), np.int64)
        turn_N[order] = np.arange(len(order))
        drawn, left = np.zeros(len(self.first), np.bool_), size
        # A text's turn is that of its first row in the file: having more rows does not make an early turn more likely.
        ranks = np.zeros(len(self.first), np.int8) if ranks_N is None else ranks_N[self.first]
        for text in np.lexsort((turn_N[self.first], ranks)).tolist():
            if self.counts[text] <= left:
                drawn[text], left = True, left - self.counts[text]
            if not left:
                break
        return np.flatnonzero(drawn[self.text_of_row] if drawn.any() else turn_N < size)


@dataclass(frozen=True, slots=True)
class EarlierTexts:
    """The texts of an earlier run, by the fingerprints of their bags: those that it has learnt, and those it held out.

    What a model has learnt looks easier to it than queries to come will be: shares that are chosen on such texts trust
    the classifiers too much.
    """

    learnt: NDArray[np.uint64]
    held: NDArray[np.uint64]

    @classmethod
    def of(cls, bags: Bags, held: NDArray[np.int64]) -> Self:
        """Divide the texts of an earlier run, as bags of the new run's featurizer, by the rows that it held out."""
        prints = fingerprints(bags)
        return cls(np.setdiff1d(prints, prints[held]), np.unique(prints[held]))

    def ranks(self, bags: Bags) -> NDArray[np.int8]:
        """Return `HELD_OUT`, `NEW` or `LEARNT` for each text, int8 [N]."""
        prints_N = fingerprints(bags)
        ranks_N = np.full(len(prints_N), NEW, np.int8)
        ranks_N[np.isin(prints_N, self.held)] = HELD_OUT
        ranks_N[np.isin(prints_N, self.learnt)] = LEARNT
        return ranks_N


def split_validation(
    data: TrainingData, section: ValidationSection, seed: int, earlier: EarlierTexts | None = None
) -> ValidationSplit:
    """Split the texts of the data as the settings ask; `auto` is settled by the data.

    Args:
        data: all texts; labels' own texts are on neither side.
        section: kind and size of the split.
        seed: decides which texts or rows are drawn.
        earlier: texts of the run that a warm start goes on from. Of the kind `texts`, those that it held out are held
            out again, then new ones, and those that it has learnt only where there are no others.
    """
    rows = np.arange(data.num_texts - data.num_valid_texts)
    texts = DistinctTexts.of(data.examples.bags.take(rows))
    kind = _settle(data, section, texts.repeated_share)
    size = section.size(data.num_texts, data.num_valid_texts)
    if kind == "texts":
        held = texts.draw(size, seed, None if earlier is None else earlier.ranks(data.examples.bags.take(rows)))
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
