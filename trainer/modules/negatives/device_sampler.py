"""The labels that a batch is trained on, found on a GPU without waiting for it.

The host gathers the positives, random negatives and hard negatives of the texts, in the order in which they matter. The
device drops repeated labels and numbers the others.

Shapes: N training texts, L labels, S negatives of a text, B texts of a batch, P positive pairs of a batch, K wanted
labels of a batch with repetitions, U distinct labels of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from astec.trainer.modules.negatives.label_sampler import LABELS_MULTIPLE, LabelSampler, draw_for_batch
from astec.trainer.modules.negatives.shared_sampler import SharedSampler
from astec.trainer.numerics.device import is_accelerator, to_device
from astec.trainer.parallel.world import World
from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.pair_weights import PairWeights
from astec.trainer.training.task import DeviceSample


def sampler_for(
    device: torch.device,
    world: World,
    labels_NL: csr_matrix,
    negatives_NS: NDArray[np.int32] | None,
    settings: ShortlistSection,
    seed: int,
) -> LabelSampler | DeviceSampler | SharedSampler:
    """Return the sampler of the labels of batches, on the GPU for a process of its own that trains there.

    Several processes split the labels of a batch, each into a number that is known only after the split: on a GPU they
    would have to wait for that number.

    Args:
        device: where the labels are scored.
        world: the processes that train together.
        labels_NL: the positive pairs, and their weights.
        negatives_NS: the hard negatives of each text, -1 where it has fewer; None on all processes but the first.
        settings: numbers of random negatives of a text and of labels of a batch.
        seed: of the random numbers.
    """
    if world.size > 1 or negatives_NS is None:
        return SharedSampler(world, labels_NL, negatives_NS, settings, seed)
    if is_accelerator(device):
        return DeviceSampler(labels_NL, negatives_NS, settings, seed, device)
    return LabelSampler(labels_NL, negatives_NS, settings, seed)


class DeviceSampler:
    """A `LabelSampler` for one process on a GPU: the same positives, hard negatives and random negatives.

    The host does not know how many of the wanted labels are distinct. So a batch has as many labels as if all were, up
    to a multiple of 512: the places that repeated labels leave are filled with further negatives, which follow each
    other from a random label on.

    Args:
        labels_NL: the positive pairs, and their weights.
        negatives_NS: the hard negatives of each text, -1 where it has fewer.
        settings: numbers of random negatives of a text and of labels of a batch.
        seed: of the random numbers.
        device: where the labels are scored.
    """

    def __init__(
        self,
        labels_NL: csr_matrix,
        negatives_NS: NDArray[np.int32],
        settings: ShortlistSection,
        seed: int,
        device: torch.device,
    ) -> None:
        self._indptr = labels_NL.indptr.astype(np.int64)
        self._indices = labels_NL.indices.astype(np.int32, copy=False)
        self._negatives_NS = negatives_NS
        self._settings, self._seed, self._device = settings, seed, device
        num_texts, self.num_labels = labels_NL.shape
        self.prior = labels_NL.nnz / (num_texts * self.num_labels)
        self.weights = PairWeights.of(labels_NL)

    def begin(self, epoch: int) -> None:
        """Do nothing: the negatives are the same in every epoch."""

    def sample(self, rows_B: NDArray[np.int64], step: int) -> DeviceSample:
        """Return the labels of a batch of texts; the same step gives the same sample."""
        generator = np.random.default_rng((self._seed, step))
        num_hard, most = self._negatives_NS.shape[1], self._settings.labels_per_batch
        random, ranks_S = draw_for_batch(len(rows_B), num_hard, self.num_labels, self._settings, generator)
        first_filler = int(generator.integers(0, self.num_labels))
        wanted_K, rows_P = _gather(rows_B, self._indptr, self._indices, self._negatives_NS, ranks_S, random)
        num_labels = max(len(rows_P), min(len(wanted_K), most))
        num_labels = min(-(-num_labels // LABELS_MULTIPLE) * LABELS_MULTIPLE, self.num_labels)
        wanted = to_device(wanted_K, self._device)
        labels_U, columns_L = _number(wanted, self.num_labels, num_labels, first_filler)
        return DeviceSample(labels_U, to_device(rows_P, self._device), columns_L[wanted[: len(rows_P)]])


@njit(cache=True, nogil=True)
def _gather(
    rows_B: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    negatives_NS: NDArray[np.int32],
    ranks_S: NDArray[np.int64],
    random: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the wanted labels [K] of a batch and the text of each positive pair [P].

    The labels are the positives of all pairs, the random negatives, then the hard negatives, rank by rank.
    """
    num_positives = 0
    for row in rows_B:
        num_positives += indptr[row + 1] - indptr[row]
    wanted = np.empty(num_positives + len(random) + len(rows_B) * len(ranks_S), np.int64)
    positive_rows = np.empty(num_positives, np.int64)
    size = 0
    for position in range(len(rows_B)):
        for i in range(indptr[rows_B[position]], indptr[rows_B[position] + 1]):
            wanted[size], positive_rows[size] = indices[i], position
            size += 1
    wanted[size : size + len(random)] = random
    size += len(random)
    for rank in ranks_S:
        for row in rows_B:
            if negatives_NS[row, rank] >= 0:
                wanted[size] = negatives_NS[row, rank]
                size += 1
    return wanted[:size], positive_rows


def _number(wanted_K: Tensor, num_labels: int, num_used: int, first_filler: int) -> tuple[Tensor, Tensor]:
    """Number all labels: the wanted ones in the order in which they come first, then the others from a label on.

    The work is proportional to L, without sorting: a few passes over some megabytes.

    Returns:
        The labels with the first `num_used` numbers, int64 [U], and the number of every label, int64 [L].
    """
    device, num_wanted = wanted_K.device, len(wanted_K)
    positions_K, labels_L = torch.arange(num_wanted, device=device), torch.arange(num_labels, device=device)
    first_L = torch.full_like(labels_L, num_wanted).scatter_reduce_(0, wanted_K, positions_K, "amin")
    numbers_K = (first_L[wanted_K] == positions_K).cumsum(0) - 1
    is_filler_L = first_L == num_wanted
    fillers_L = (is_filler_L.roll(-first_filler).cumsum(0) + numbers_K[-1]).roll(first_filler)
    numbers_L = torch.where(is_filler_L, fillers_L, numbers_K[first_L.clamp(max=num_wanted - 1)])
    # All labels without a place go to one place more, which is cut off: their number is known to the device alone.
    labels_U = labels_L.new_empty(num_used + 1).scatter_(0, numbers_L.clamp(max=num_used), labels_L)
    return labels_U[:num_used], numbers_L
