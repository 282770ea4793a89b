"""Token embeddings learnt without labels, from which tokens occur in the same texts.

They are the leading singular vectors of the normalised text-token matrix, as in spectral co-clustering (Dhillon, KDD
2001), computed by randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011).

Shapes: N texts, V vocabulary, D dimensions, K sampled directions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_OVERSAMPLING = 16
_ITERATIONS = 2
_MAX_TEXTS = 1_000_000  # bounds the time; far fewer texts already show which tokens occur together
_CHUNK_ROWS = 16_384


def corpus_embeddings(features_NV: csr_matrix, dim: int, seed: int) -> NDArray[np.float32]:
    """Compute token embeddings [V, D] with rows of length 1.

    Of more than a million texts a random million is used. A token that none of these contains has a row of zeros;
    columns beyond the rank of the matrix are zero.
    """
    if features_NV.shape[0] > _MAX_TEXTS:
        chosen = np.random.default_rng(seed).choice(features_NV.shape[0], _MAX_TEXTS, replace=False)
        features_NV = features_NV[np.sort(chosen)]
    normalised_NV, texts_N, tokens_V = _normalise(features_NV)
    values_D, vectors_VD = _leading_right_vectors(normalised_NV, texts_N, tokens_V, dim, seed)
    inverse_V = np.divide(1, tokens_V, where=tokens_V > 0, out=np.zeros_like(tokens_V))
    coordinates_VD = vectors_VD * values_D * inverse_V[:, None]
    norms_V = np.linalg.norm(coordinates_VD, axis=1)
    embeddings_VD = np.zeros((features_NV.shape[1], dim), np.float32)
    embeddings_VD[:, : len(values_D)] = coordinates_VD / np.where(norms_V > 0, norms_V, 1)[:, None]
    return embeddings_VD


def _normalise(features_NV: csr_matrix) -> tuple[csr_matrix, NDArray[np.float32], NDArray[np.float32]]:
    """Divide each entry by the square roots of its row's and its column's sum; return these roots too, [N] and [V]."""
    texts_N, tokens_V = (np.sqrt(np.asarray(features_NV.sum(axis=axis), np.float32).ravel()) for axis in (1, 0))
    rows = np.repeat(np.arange(features_NV.shape[0]), np.diff(features_NV.indptr))
    data = features_NV.data / (texts_N[rows] * tokens_V[features_NV.indices])
    parts = (data.astype(np.float32), features_NV.indices, features_NV.indptr)
    return csr_matrix(parts, shape=features_NV.shape), texts_N, tokens_V


def _leading_right_vectors(
    matrix_NV: csr_matrix, texts_N: NDArray[np.float32], tokens_V: NDArray[np.float32], count: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the `count` largest singular values, falling, and their right singular vectors [V, count].

    There are fewer if the matrix has a lower rank. The trivial pair `texts_N` and `tokens_V`, whose value is 1, is left
    out: it only says how frequent tokens are. Signs are fixed: the largest entry of each vector is positive.
    """
    texts_N, tokens_V = texts_N / np.linalg.norm(texts_N), tokens_V / np.linalg.norm(tokens_V)
    transposed_VN = matrix_NV.T.tocsr()

    def forward(basis_VK: NDArray[np.float32]) -> NDArray[np.float32]:
        return _product(matrix_NV, basis_VK) - np.outer(texts_N, tokens_V @ basis_VK)

    def backward(basis_NK: NDArray[np.float32]) -> NDArray[np.float32]:
        return _product(transposed_VN, basis_NK) - np.outer(tokens_V, texts_N @ basis_NK)

    width = min(count + _OVERSAMPLING, *matrix_NV.shape)
    basis_VK = np.random.default_rng(seed).standard_normal((len(tokens_V), width), np.float32)
    for _ in range(_ITERATIONS):
        basis_VK, _ = np.linalg.qr(backward(forward(basis_VK)))
    triangle_KK = np.linalg.qr(forward(basis_VK), mode="r")  # has the same singular values and right vectors
    _, values_K, mixing_KK = np.linalg.svd(triangle_KK)
    rank = min(count, int((values_K > width * np.finfo(np.float32).eps).sum()))
    vectors_VK = basis_VK @ mixing_KK[:rank].T
    largest = vectors_VK[np.abs(vectors_VK).argmax(axis=0), np.arange(rank)]
    return values_K[:rank], vectors_VK * np.sign(largest)


def _product(matrix: csr_matrix, dense: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute `matrix` @ `dense`, with the rows divided among all CPUs."""
    chunks = [matrix[begin : begin + _CHUNK_ROWS] for begin in range(0, matrix.shape[0], _CHUNK_ROWS)]
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(lambda chunk: chunk @ dense, chunks)))
