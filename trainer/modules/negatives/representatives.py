"""The label representatives in ANNS-mu: a mean, and several vectors for labels of many texts (paper, section 4, A.4).

Shapes: N texts, n texts of one label, D dimensions, L labels, L' representatives, K of one label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import unit_rows
from astec.trainer.settings.config import ShortlistSection

_ITERATIONS = 10
_BLOCK_POINTS = 1 << 13
_MAX_TEXTS = 16_384  # texts of a label that k-means clusters at most: bounds its time and memory
_TEXTS_PER_REPRESENTATIVE = 4  # at least, on average: with fewer, ANNS-mu would only repeat ANNS-x


def label_representatives(
    v_ND: NDArray[np.float32], labels_NL: csr_matrix, settings: ShortlistSection, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the representatives mu [L', D] in label order, and the label of each, [L'].

    A label has the mean of the v of its texts (their sum: cosine similarity ignores the length), and if it is one of
    the `head_labels` most frequent labels also the centres of k-means over them. Texts count by the weights of their
    pairs with the label, the entries of `labels_NL`.
    """
    labels_LN = labels_NL.T.tocsr()
    means_LD = np.asarray(labels_LN @ v_ND, np.float32)
    by_frequency = np.argsort(-np.diff(labels_LN.indptr), kind="stable")
    vectors, labels = [means_LD], [np.arange(len(means_LD), dtype=np.int32)]
    if not settings.head_labels:
        return means_LD, labels[0]
    for label in by_frequency[: settings.head_labels].tolist():
        pairs = slice(labels_LN.indptr[label], labels_LN.indptr[label + 1])
        generator = np.random.default_rng((seed, label))
        texts_n, weights_n = labels_LN.indices[pairs], labels_LN.data[pairs]
        centres_KD = _centres(v_ND, texts_n, weights_n, settings.representatives_per_head, generator)
        vectors.append(centres_KD)
        labels.append(np.full(len(centres_KD), label, np.int32))
    all_labels = np.concatenate(labels)
    order = np.argsort(all_labels, kind="stable")
    return np.concatenate(vectors)[order], all_labels[order]


def _centres(
    v_ND: NDArray[np.float32],
    texts_n: NDArray[np.int32],
    weights_n: NDArray[np.float32],
    most: int,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Return k-means centres of some texts, none where the texts are too few."""
    if len(texts_n) > _MAX_TEXTS:
        chosen = np.sort(generator.choice(len(texts_n), _MAX_TEXTS, replace=False))
        texts_n, weights_n = texts_n[chosen], weights_n[chosen]
    points_nD = v_ND[texts_n]
    known_n = points_nD.any(axis=1)
    points_nD, weights_n = points_nD[known_n], weights_n[known_n]
    count = min(most, len(points_nD) // _TEXTS_PER_REPRESENTATIVE)
    if count <= 1:  # the mean is there already
        return np.empty((0, v_ND.shape[1]), np.float32)
    points_nD /= np.linalg.norm(points_nD, axis=1, keepdims=True)
    return spherical_k_means(points_nD, count, generator, weights_n)


def spherical_k_means(
    points_nD: NDArray[np.float32],
    count: int,
    generator: np.random.Generator,
    weights_n: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Cluster unit vectors by cosine similarity with Lloyd's algorithm, starting from distinct points.

    Args:
        points_nD: the vectors.
        count: the most centres.
        generator: of the points to start from.
        weights_n: of the vectors in the centres, by default 1 each.

    Returns:
        Unit centres [K, D], fewer than `count` where clusters became empty.
    """
    centres_KD = points_nD[generator.choice(len(points_nD), count, replace=False)]
    nearest = np.full(len(points_nD), -1)
    weights_n = np.ones(len(points_nD), np.float32) if weights_n is None else weights_n
    for _ in range(_ITERATIONS):
        previous, nearest = nearest, nearest_centres(points_nD, centres_KD)
        if (nearest == previous).all():
            break
        used, nearest = np.unique(nearest, return_inverse=True)
        members_Kn = csr_matrix((weights_n, (nearest, np.arange(len(nearest)))), shape=(len(used), len(nearest)))
        centres_KD = unit_rows(np.asarray(members_Kn @ points_nD))
    return centres_KD


def nearest_centres(points_nD: NDArray[np.float32], centres_KD: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the centre with the largest inner product with each point, [n]; memory grows with K, not with n x K."""
    nearest_n = np.empty(len(points_nD), np.int64)
    for begin in range(0, len(points_nD), _BLOCK_POINTS):
        block = slice(begin, begin + _BLOCK_POINTS)
        nearest_n[block] = (points_nD[block] @ centres_KD.T).argmax(axis=1)
    return nearest_n
