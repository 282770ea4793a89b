"""Negatives that are mined again while the encoder learns, as DeepXML-ANNS of the paper's code does.

Shapes: N texts, B texts of a batch, S negatives of a text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from astec.trainer.data.examples import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.modules.negatives.sampling import choose_negatives, count_negatives
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.parallel.world import LabelSample
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.pair_weights import PairWeights
from astec.trainer.training.task import DeviceSample, Labels


class RebuiltSampler:
    """A sampler of labels whose hard negatives are mined again every few epochs.

    The negatives stay in the run folder until the run ends: an interrupted run resumes with the same negatives.

    Args:
        train: the texts.
        encoder: makes their representations, and learns meanwhile.
        settings: of the search, and the epochs after which negatives are mined again.
        seed: of representatives and random negatives.
        run: whose folder keeps the negatives.
    """

    def __init__(self, train: Examples, encoder: Encoder, settings: ShortlistSection, seed: int, run: Run) -> None:
        self._train, self._encoder, self._settings, self._seed, self._run = train, encoder, settings, seed, run
        num_texts, self.num_labels = train.labels.shape
        self.prior = train.labels.nnz / (num_texts * self.num_labels)
        self.weights = PairWeights.of(train.labels)
        self._mined_at, self._sampler = -1, self._sampler_of(np.empty((num_texts, 0), np.int32))

    def begin(self, epoch: int) -> None:
        """Mine new negatives if this epoch is one to rebuild at."""
        every = self._settings.rebuild_epochs
        mined_at = epoch - epoch % every if every else 0
        if mined_at != self._mined_at:
            mined = self._mine(f"mining-{self._seed}-{mined_at}") if self._run.world.leads else None
            self._mined_at, self._sampler = mined_at, self._sampler_of(mined)

    def sample(self, rows_B: NDArray[np.int64], step: int) -> LabelSample | DeviceSample:
        """Sample the labels of a batch, with the negatives mined last."""
        return self._sampler.sample(rows_B, step)

    def _mine(self, stage: str) -> NDArray[np.int32]:
        """Return the negatives [N, S], mapped from the run's folder, on the first process; the others wait."""
        settings, seed, labels_NL = self._settings, self._seed, self._train.labels

        def blocks() -> Iterator[NDArray[np.int32]]:
            v_ND, device = self._encoder.represent(self._train.texts), self._encoder.device
            shortlister = SearchVectors.of(v_ND, labels_NL, settings, seed).mining_shortlister(settings, device, seed)
            mined = choose_negatives(shortlister, v_ND, labels_NL, settings, seed)
            return count_negatives(mined, lambda mean: self._run.record("mining", negatives_per_text=mean))

        shape = (labels_NL.shape[0], settings.num_hard_negatives)
        return self._run.once_rows(stage, shape, blocks)

    def _sampler_of(self, negatives_NS: NDArray[np.int32] | None) -> Labels:
        device, world = self._encoder.device, self._run.world
        return sampler_for(device, world, self._train.labels, negatives_NS, self._settings, self._seed)
