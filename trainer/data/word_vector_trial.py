"""The trial that decides, before training, whether the word vectors of the package help to find labels.

Texts are compared by their tokens alone, and by their tokens and what their words mean in general. As in a model, the
second are word vectors beside the weights of tokens.

Shapes: P points (sampled texts, then, where they are learnt from, the texts of the sampled labels), V tokens, D
dimensions, R probe texts, B of them at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity, vstack

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.data.nearest_texts import (
    FEWEST_PROBES,
    Found,
    Gain,
    number_equal,
    precision_of_votes,
    sample_pairs,
    sample_probes,
)
from astec.trainer.settings.config import WordVectorsSection
from astec.trainer.words.word_file import english_words

_PROBES_AT_ONCE = 64
_COMPARED = 200  # points whose similarities are kept, of which the nearest vote


def try_word_vectors(
    texts: TextTable,
    label_texts: TextTable | None,
    labels_NL: csr_matrix,
    config: FeaturizerConfig,
    settings: WordVectorsSection,
    seed: int,
) -> Gain | None:
    """Compare the search with and without the word vectors of the package, on a sample of the texts.

    Args:
        texts: the texts of the training file, [N].
        label_texts: the text of each label, where labels are learnt from as texts, too.
        labels_NL: the labels of each text.
        config: how texts become tokens.
        settings: how much the word vectors weigh, and how many dimensions they have.
        seed: the seed of the samples.

    Returns:
        what they brought; None if there are too few different texts to tell.
    """
    generator = np.random.default_rng(seed)
    rows, labels_L = sample_pairs(labels_NL, generator)
    own_texts = [texts[row] for row in rows.tolist()]
    if len(set(own_texts)) < FEWEST_PROBES:
        return None
    points, labels_PL = own_texts, labels_NL[rows][:, labels_L]
    if label_texts is not None:
        points = own_texts + [label_texts[label] for label in labels_L.tolist()]
        labels_PL = vstack([labels_PL, identity(len(labels_L), np.float32)], format="csr")
    try:
        featurizer = TextFeaturizer.fit(points, config)
    except ValueError:  # the texts have no tokens, which is reported where all texts are featurised
        return None
    bags = featurizer.transform(points)
    features_PV = csr_matrix((bags.weights, bags.ids, bags.offsets), (len(points), featurizer.num_features))
    meanings_PD = _meanings(features_PV, featurizer, settings.dim)
    numbers_P = np.full(len(points), -1)  # the texts of labels equal no text
    numbers_P[: len(own_texts)] = number_equal(own_texts)
    gains_R = np.concatenate([
        _gains(features_PV, settings.weight**2 * meanings_PD, meanings_PD, labels_PL, numbers_P, probes_B)
        for probes_B in _chunks(sample_probes(len(own_texts), generator))
    ])  # fmt: skip
    return Gain(float(gains_R.mean()), float(gains_R.std() / len(gains_R) ** 0.5))


def _meanings(features_PV: csr_matrix, featurizer: TextFeaturizer, dim: int) -> NDArray[np.float32]:
    """Return the sum of the vectors of each point's words, of length 1, [P, D]: ReLU(s) and ReLU(-s) as in a model."""
    tokens, vectors = english_words().of_tokens(featurizer, dim // 2)
    vectors_VD = np.zeros((featurizer.num_features, dim // 2), np.float32)
    vectors_VD[tokens] = vectors
    sums_PD = features_PV @ vectors_VD
    meanings_PD: NDArray[np.float32] = np.maximum(np.concatenate([sums_PD, -sums_PD], axis=1), 0)
    lengths_P1 = np.linalg.norm(meanings_PD, axis=1, keepdims=True)
    np.divide(meanings_PD, lengths_P1, out=meanings_PD, where=lengths_P1 > 0)
    return meanings_PD


def _chunks(probes_R: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(probes_R, range(_PROBES_AT_ONCE, len(probes_R), _PROBES_AT_ONCE))


def _gains(
    features_PV: csr_matrix,
    weighed_PD: NDArray[np.float32],
    meanings_PD: NDArray[np.float32],
    labels_PL: csr_matrix,
    numbers_P: NDArray[np.int64],
    probes_B: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return by how many points each probe's mean of P@1, P@3 and P@5 is higher with the word vectors, [B]."""
    by_tokens_BP = (features_PV[probes_B] @ features_PV.T).toarray()
    by_tokens_BP[numbers_P[probes_B][:, None] == numbers_P] = 0
    by_both_BP = by_tokens_BP + meanings_PD[probes_B] @ weighed_PD.T
    by_both_BP[numbers_P[probes_B][:, None] == numbers_P] = 0
    with_B, without_B = (
        precision_of_votes([_similar(row_P) for row_P in similar_BP], labels_PL, labels_PL[probes_B])
        for similar_BP in (by_both_BP, by_tokens_BP)
    )
    return with_B - without_B


def _similar(similarities_P: NDArray[np.float32]) -> Found:
    """Return the most similar points, which are similar at all."""
    near = np.arange(len(similarities_P))
    if len(near) > _COMPARED:
        near = np.argpartition(similarities_P, -_COMPARED)[-_COMPARED:]
    near = near[similarities_P[near] > 0]
    return Found(near.astype(np.int32), similarities_P[near])
