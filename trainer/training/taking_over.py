"""Classifiers of an earlier model that are taken over, and classifiers of new labels that start from their texts.

Shapes: N texts, L labels or clusters, L' of the earlier model, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.parallel.world import Arrays

_LEAST_SQUARE = 1e-6


def take_over(
    old: Arrays, source_L: NDArray[np.int64], labels_NL: csr_matrix, represent: Callable[[], NDArray[np.float32]]
) -> Arrays | None:
    """Return the residual, classifiers and biases to start from.

    A new label's classifier points to the mean x of its texts, and is so long that the logit of that mean is what it is
    for labels that are taken over, on average.

    Args:
        old: the residual, classifiers [L', D] and biases of the earlier model.
        source_L: the earlier number of each label; -1: it is new.
        labels_NL: the weights of the texts' labels.
        represent: returns v of the texts, [N, D]; called if a label is new.

    Returns:
        None where no label is taken over.
    """
    known = source_L >= 0
    if not known.any():
        return None
    dim = old["classifier"].shape[1]
    classifier_LD, bias_L = np.zeros((len(source_L), dim), np.float32), np.empty(len(source_L), np.float32)
    classifier_LD[known], bias_L[known] = old["classifier"][source_L[known]], old["bias"][source_L[known]]
    if not known.all():
        means_LD = _mean_x(represent(), old["residuals"][0], labels_NL)
        logit = float(np.einsum("ld,ld->l", classifier_LD[known], means_LD[known]).mean())
        squares_L1 = np.square(means_LD[~known]).sum(axis=1, keepdims=True)
        classifier_LD[~known] = means_LD[~known] * (logit / np.maximum(squares_L1, _LEAST_SQUARE))
        bias_L[~known] = bias_L[known].mean()
    return {"residuals": old["residuals"], "classifier": classifier_LD, "bias": bias_L}


def _mean_x(v_ND: NDArray[np.float32], residual_DD: NDArray[np.float32], labels_NL: csr_matrix) -> NDArray[np.float32]:
    """Return the mean x of the texts of each label, float32 [L, D]; 0 for a label without a text."""
    x_ND = v_ND + np.maximum(v_ND @ residual_DD.T, 0)
    weights_L = np.asarray(labels_NL.sum(axis=0), np.float32).ravel()
    weights_L[weights_L == 0] = 1
    means_LD: NDArray[np.float32] = np.asarray(labels_NL.T.tocsr() @ x_ND, np.float32)
    means_LD /= weights_L[:, None]
    return means_LD
