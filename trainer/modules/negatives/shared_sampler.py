"""The labels of batches that several processes train on together, sampled by the first of them.

So the other processes hold neither negatives nor positive pairs for it, and all get the sample of a single process.

Shapes: N training texts, L labels, S negatives of a text, B texts of a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.modules.negatives.label_sampler import LabelSampler
from astec.trainer.parallel.world import Arrays, LabelSample, World
from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.pair_weights import PairWeights


class SharedSampler:
    """A `LabelSampler` of the first process that samples for all; all sample the same batches in the same order.

    Args:
        world: the processes that train together.
        labels_NL: the positive pairs, and their weights.
        negatives_NS: hard negatives of each text, -1 where it has fewer, which may be mapped; None on all processes
            but the first.
        settings: numbers of random negatives of a text and of labels of a batch.
        seed: of the random numbers.
    """

    def __init__(
        self,
        world: World,
        labels_NL: csr_matrix,
        negatives_NS: NDArray[np.int32] | None,
        settings: ShortlistSection,
        seed: int,
    ) -> None:
        num_texts, self.num_labels = labels_NL.shape
        self.prior = labels_NL.nnz / (num_texts * self.num_labels)
        self.weights = PairWeights.of(labels_NL)
        # Batches are sampled on another thread, while the steps before them exchange gradients.
        self._world = world.apart()
        self._sampler = None if negatives_NS is None else LabelSampler(labels_NL, negatives_NS, settings, seed)

    def begin(self, epoch: int) -> None:
        """Do nothing: the negatives are the same in every epoch."""

    def sample(self, rows_B: NDArray[np.int64], step: int) -> LabelSample:
        """Return the labels of a batch of texts that the first process samples, as `LabelSampler.sample` does.

        Raises:
            PeerError: another process stopped.
        """
        sampler = self._sampler

        def draw() -> Arrays:
            if sampler is None:
                raise RuntimeError("the first process needs negatives to sample from")
            return dict(zip(("labels", "rows", "columns"), sampler.sample(rows_B, step), strict=True))

        sample = self._world.share(draw)
        return sample["labels"], sample["rows"], sample["columns"]
