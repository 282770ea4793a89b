"""The trial that decides, before training, whether labels' own texts help to find labels.

Training twice would tell, and take twice the time. In its place, a search for the nearest texts by their tokens ranks
labels by the similarity of the texts that carry them: once with the labels' own texts among these texts, and once
without. Both times it is given the same sample of texts and labels, of bounded size. Where there are too few texts for
that, it decides how labels read: most of them share a word with their texts, or not.

Shapes: P points (sampled texts, then the texts of the sampled labels), L sampled labels, V tokens, R probe texts, B of
them at a time, K = 5 ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity, vstack

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig

LEAST_GAIN = 1.0
"""Points of P@k that labels' own texts must bring in the trial, as each of them costs training time and latency.

Where they brought half a point, training gained 0.3 points, and a query took twice as long (docs/accuracy.md)."""
_LEAST_ERRORS = 2.0  # standard errors that the gain must reach, too: a gain by chance is rarely as large
LEAST_SHARE = 0.5
"""The share of labels with a word of their texts from which on labels read like texts."""
_RANKS = (1, 3, 5)
_NEIGHBOURS = 50
_MOST_PROBES, _FEWEST_PROBES = 1_000, 100  # of fewer texts, one lucky hit would decide
_PROBES_AT_ONCE = 64
_MOST_TEXTS, _MOST_PAIRS, _FEWEST_LABELS = 50_000, 100_000, 1_000


@dataclass(frozen=True, slots=True)
class LabelTextTrial:
    """What the labels' own texts brought in the trial.

    Attributes:
        gain: points by which they raised the mean of P@1, P@3 and P@5.
        standard_error: of the gain.
    """

    gain: float
    standard_error: float

    @property
    def least_gain(self) -> float:
        """The least gain that is worth its cost and hardly by chance."""
        return max(LEAST_GAIN, _LEAST_ERRORS * self.standard_error)

    @property
    def succeeds(self) -> bool:
        """True if labels should be learnt from as texts."""
        return self.gain >= self.least_gain

    @property
    def reason(self) -> str:
        """Say what decided."""
        changed = f"in a trial before training this changed P@k by {self.gain:+.2f} points"
        return f"{changed}, and at least {self.least_gain:.2f} are wanted"


@dataclass(frozen=True, slots=True)
class SharedWords:
    """How labels read, which decides where there are too few texts for a trial.

    Attributes:
        share: of the labels, those that share a word with a text that carries them.
    """

    share: float

    @property
    def succeeds(self) -> bool:
        """True if labels should be learnt from as texts."""
        return self.share >= LEAST_SHARE

    @property
    def reason(self) -> str:
        """Say what decided."""
        shared = f"there are too few texts to try it, and {self.share:.0%} of the labels share a word with their texts"
        return f"{shared}, where at least {LEAST_SHARE:.0%} are wanted"


class _Found(NamedTuple):
    """Points that share a token with a probe text, in any order, and the similarity of each."""

    points: NDArray[np.int32]
    similarities: NDArray[np.float32]

    def kept(self, is_kept: NDArray[np.bool_]) -> _Found:
        """Return a part of the points."""
        return _Found(self.points[is_kept], self.similarities[is_kept])

    def nearest(self) -> _Found:
        """Return the nearest points, ascending."""
        near = self
        if len(self.points) > _NEIGHBOURS:
            near = self.kept(self.similarities >= np.partition(self.similarities, -_NEIGHBOURS)[-_NEIGHBOURS])
        order = np.argsort(near.points)
        return _Found(near.points[order], near.similarities[order])


def try_label_texts(
    texts: TextTable, label_texts: TextTable, labels_NL: csr_matrix, config: FeaturizerConfig, seed: int
) -> LabelTextTrial | SharedWords:
    """Compare the search with and without the labels' own texts, on a sample of the texts.

    Of many labels a random part is taken, with all texts that carry one of them, so that each label keeps its texts:
    the fewer it has, the more its own text tells. A probe text is compared with all texts but those equal to it.

    Args:
        texts: the texts of the training file, [N].
        label_texts: the text of each label.
        labels_NL: the labels of each text.
        config: how texts become tokens.
        seed: the seed of the samples.

    Returns:
        how labels read if there are too few different texts to tell.
    """
    generator = np.random.default_rng(seed)
    rows_P, labels_L = _sample(labels_NL, generator)
    own_texts = [texts[row] for row in rows_P.tolist()]
    points = own_texts + [label_texts[label] for label in labels_L.tolist()]
    if len(set(own_texts)) < _FEWEST_PROBES:
        return SharedWords(_share_words(points, labels_NL[rows_P][:, labels_L], config))
    try:
        features_PV = _features(points, config)
    except ValueError:  # the texts have no tokens, which is reported where all texts are featurised
        return SharedWords(0.0)
    labels_PL = vstack([labels_NL[rows_P][:, labels_L], identity(len(labels_L), np.float32)], format="csr")
    probes_R = generator.choice(len(rows_P), min(_MOST_PROBES, len(rows_P)), replace=False)
    gains_R = _gains(features_PV, labels_PL, _numbered(own_texts), np.sort(probes_R))
    return LabelTextTrial(float(gains_R.mean()), float(gains_R.std() / len(gains_R) ** 0.5))


def _sample(labels_NL: csr_matrix, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the labels of a sample, each ascending."""
    num_labels = labels_NL.shape[1]
    count = min(num_labels, max(_FEWEST_LABELS, num_labels * _MOST_PAIRS // labels_NL.nnz))
    labels_L = np.sort(generator.choice(num_labels, count, replace=False))
    rows = np.flatnonzero(np.diff(labels_NL[:, labels_L].indptr))
    if len(rows) > _MOST_TEXTS:
        rows = np.sort(generator.choice(rows, _MOST_TEXTS, replace=False))
    return rows, labels_L


def _features(points: list[str], config: FeaturizerConfig) -> csr_matrix:
    """Return the weights of the points' tokens, [P, V].

    Raises:
        ValueError: the points have no tokens.
    """
    featurizer = TextFeaturizer.fit(points, config)
    bags = featurizer.transform(points)
    return csr_matrix((bags.weights, bags.ids, bags.offsets), (len(points), featurizer.num_features))


def _share_words(points: list[str], labels_NL: csr_matrix, config: FeaturizerConfig) -> float:
    """Return the share of labels with a word of a text that carries them, among those with a text.

    The texts of the labels are the last points.
    """
    words = replace(config, word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
    try:
        has_PV = _features(points, words).astype(bool).astype(np.float32)
    except ValueError:  # no point has a word
        return 0.0
    num_texts = labels_NL.shape[0]
    shared_L = (labels_NL.T @ has_PV[:num_texts]).multiply(has_PV[num_texts:]).sum(axis=1)
    return float(np.count_nonzero(shared_L) / np.count_nonzero(labels_NL.getnnz(axis=0)))


def _numbered(texts: list[str]) -> NDArray[np.int64]:
    """Give equal texts the same number."""
    numbers = dict[str, int]()
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts])


def _gains(
    features_PV: csr_matrix, labels_PL: csr_matrix, text_of_row: NDArray[np.int64], probes_R: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return by how many points each probe's mean of P@1, P@3 and P@5 is higher with the labels' own texts, [R]."""
    num_texts, features_VP = len(text_of_row), features_PV.T.tocsr()
    numbers_P = np.full(features_PV.shape[0], -1)  # the texts of labels equal no text
    numbers_P[:num_texts] = text_of_row
    gains = list[NDArray[np.float64]]()
    for begin in range(0, len(probes_R), _PROBES_AT_ONCE):
        probes_B = probes_R[begin : begin + _PROBES_AT_ONCE]
        similar = _rows(features_PV[probes_B] @ features_VP)
        found = [
            some.kept(numbers_P[some.points] != numbers_P[probe]) for probe, some in zip(probes_B, similar, strict=True)
        ]
        found_texts = [some.kept(some.points < num_texts) for some in found]
        relevant_BL = labels_PL[probes_B]
        with_B = _precision(_votes(found, labels_PL), relevant_BL)
        without_B = _precision(_votes(found_texts, labels_PL[:num_texts]), relevant_BL)
        gains.append(with_B - without_B)
    return np.concatenate(gains)


def _rows(matrix: csr_matrix) -> Iterator[_Found]:
    for begin, end in pairwise(matrix.indptr.tolist()):
        yield _Found(matrix.indices[begin:end], matrix.data[begin:end])


def _votes(found: Sequence[_Found], labels_PL: csr_matrix) -> csr_matrix:
    """Sum up the cubed similarities of the nearest points that carry each label, [B, L].

    Points as near as the last of the nearest count, too. The cube lets one very near point outweigh several others.
    """
    points, similarities = zip(*(some.nearest() for some in found), strict=True)
    indptr = np.concatenate([[0], np.cumsum(list(map(len, points)))])
    shape = (len(found), labels_PL.shape[0])
    return csr_matrix((np.concatenate(similarities) ** 3, np.concatenate(points), indptr), shape) @ labels_PL


def _precision(votes_BL: csr_matrix, relevant_BL: csr_matrix) -> NDArray[np.float64]:
    """Return the mean of P@1, P@3 and P@5 of each probe in percent, [B]."""
    hits_BK = np.zeros((votes_BL.shape[0], _RANKS[-1]))
    votes_BL.sort_indices()  # of labels with equal votes, the first counts
    for row in range(len(hits_BK)):
        entries = slice(*votes_BL.indptr[row : row + 2])
        best = votes_BL.indices[entries][np.argsort(-votes_BL.data[entries], kind="stable")[: _RANKS[-1]]]
        relevant = relevant_BL.indices[slice(*relevant_BL.indptr[row : row + 2])]
        hits_BK[row, : len(best)] = np.isin(best, relevant)
    mean_B: NDArray[np.float64] = np.mean([hits_BK[:, :k].mean(axis=1) for k in _RANKS], axis=0)
    return 100 * mean_B
