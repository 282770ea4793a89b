"""The dense classifiers of the labels, over the representation of an encoder.

Shapes: L labels, D dimensions of the representation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import quantize_rows
from astec.export.artifact.kernels.weight_rows import Weights, read_only
from astec.export.artifact.storage.checked_arrays import open_finite
from astec.export.artifact.storage.weight_files import open_weights, save_weights

CLASSIFIER_STEM = "classifier"
RERANKER_STEM = "reranker"


def bias_file(stem: str) -> str:
    """Return the name of the file of the biases."""
    return f"{stem}.bias.npy"


@dataclass(frozen=True, slots=True)
class DenseClassifier:
    """1-vs-all linear classifiers: w_l and b_l of each label.

    Shapes: `rows` [L, D] in float32, or in int8 with `scales` float32 [L] (else [0]); `bias` float32 [L].
    """

    rows: Weights
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def of(cls, rows_LD: NDArray[np.float32], bias_L: NDArray[np.float32], *, int8: bool = False) -> DenseClassifier:
        """Make classifiers as an artifact holds them, in float32 or rounded to int8.

        Raises:
            ValueError: a weight is NaN or infinite, which int8 cannot hold.
        """
        return cls(*quantize_rows(rows_LD, int8=int8), read_only(bias_L))

    @classmethod
    def open(cls, folder: Path, stem: str, shape: tuple[int, int], *, int8: bool) -> DenseClassifier:
        """Map classifiers of shape [L, D].

        Raises:
            ValueError: a file has another type or shape, or a scale or bias is NaN or infinite. The rows are not read.
        """
        rows_LD, scales_L = open_weights(folder, stem, shape, int8=int8)
        return cls(rows_LD, scales_L, open_finite(folder, bias_file(stem), shape[0]))

    def extended(self, rows_AD: NDArray[np.float32], bias_A: NDArray[np.float32]) -> DenseClassifier:
        """Return the classifiers of these labels and then of more, rounded as these are.

        Raises:
            ValueError: a weight is NaN or infinite, which int8 cannot hold.
        """
        more = DenseClassifier.of(rows_AD, bias_A, int8=self.rows.dtype == np.int8)
        return DenseClassifier(
            np.concatenate([self.rows, more.rows]),
            np.concatenate([self.scales, more.scales]),
            np.concatenate([self.bias, more.bias]),
        )

    def save(self, folder: Path, stem: str) -> None:
        """Write the files that `open` reads."""
        save_weights(folder, stem, self.rows, self.scales)
        np.save(folder / bias_file(stem), self.bias)

    def arrays(self) -> tuple[Weights, NDArray[np.float32], NDArray[np.float32]]:
        """Return rows, scales and bias, as the scoring kernels take them."""
        return self.rows, self.scales, self.bias
