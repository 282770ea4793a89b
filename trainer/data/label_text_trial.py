"""The trial that decides, before training, whether labels' own texts help to find labels.

The search of the trial is given the same sample of texts and labels twice, once with the labels' own texts among these
texts, and once without. Where there are too few texts for that, it decides how labels read: most of them share a word
with their texts, or not.

Shapes: P points (sampled texts, then the texts of the sampled labels), L sampled labels, V tokens, R probe texts, B of
them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity, vstack

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.data.nearest_texts import (
    FEWEST_PROBES,
    Gain,
    number_equal,
    precision_of_votes,
    sample_pairs,
    sample_probes,
    split_rows,
)

LEAST_SHARE = 0.5
"""The share of labels with a word of their texts from which on labels read like texts."""
_PROBES_AT_ONCE = 64


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


def try_label_texts(
    texts: TextTable, label_texts: TextTable, labels_NL: csr_matrix, config: FeaturizerConfig, seed: int
) -> Gain | SharedWords:
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
    rows_P, labels_L = sample_pairs(labels_NL, generator)
    own_texts = [texts[row] for row in rows_P.tolist()]
    points = own_texts + [label_texts[label] for label in labels_L.tolist()]
    if len(set(own_texts)) < FEWEST_PROBES:
        return SharedWords(_share_words(points, labels_NL[rows_P][:, labels_L], config))
    try:
        features_PV = _features(points, config)
    except ValueError:  # the texts have no tokens, which is reported where all texts are featurised
        return SharedWords(0.0)
    labels_PL = vstack([labels_NL[rows_P][:, labels_L], identity(len(labels_L), np.float32)], format="csr")
    probes_R = sample_probes(len(rows_P), generator)
    gains_R = _gains(features_PV, labels_PL, number_equal(own_texts), probes_R)
    return Gain(float(gains_R.mean()), float(gains_R.std() / len(gains_R) ** 0.5))


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
        similar = split_rows(features_PV[probes_B] @ features_VP)
        found = [
            some.kept(numbers_P[some.points] != numbers_P[probe]) for probe, some in zip(probes_B, similar, strict=True)
        ]
        found_texts = [some.kept(some.points < num_texts) for some in found]
        relevant_BL = labels_PL[probes_B]
        with_B = precision_of_votes(found, labels_PL, relevant_BL)
        without_B = precision_of_votes(found_texts, labels_PL[:num_texts], relevant_BL)
        gains.append(with_B - without_B)
    return np.concatenate(gains)
