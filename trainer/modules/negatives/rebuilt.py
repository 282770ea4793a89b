"""Negatives from graphs that are rebuilt while the encoder learns, as DeepXML-ANNS of the paper's code does.

Shapes: N texts, B texts of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from astec.trainer.data.examples import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.modules.negatives.sampling import build_graphs, choose_negatives
from astec.trainer.parallel.world import Arrays, LabelSample
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.task import DeviceSample, Labels


class RebuiltSampler:
    """A sampler of labels whose hard negatives are mined again every few epochs.

    The negatives stay in the run folder until the run ends: an interrupted run resumes with the same negatives.

    Args:
        train: the texts.
        encoder: makes their representations, and learns meanwhile.
        settings: of the graphs, and the epochs between two rebuilds.
        seed: of graphs and random negatives.
        run: whose folder keeps the negatives.
    """

    def __init__(self, train: Examples, encoder: Encoder, settings: ShortlistSection, seed: int, run: Run) -> None:
        self._train, self._encoder, self._settings, self._seed, self._run = train, encoder, settings, seed, run
        num_texts, self.num_labels = train.labels.shape
        self.prior = train.labels.nnz / (num_texts * self.num_labels)
        self._mined_at, self._sampler = -1, self._sampler_of(np.empty((num_texts, 0), np.int32))

    def begin(self, epoch: int) -> None:
        """Mine new negatives if this epoch is one to rebuild at."""
        every = self._settings.rebuild_epochs
        mined_at = epoch - epoch % every if every else 0
        if mined_at != self._mined_at:
            mined = self._run.world.share(lambda: self._run.once(f"mining-{self._seed}-{mined_at}", self._mine))
            self._mined_at, self._sampler = mined_at, self._sampler_of(mined["negatives"])

    def sample(self, rows_B: NDArray[np.int64], step: int) -> LabelSample | DeviceSample:
        """Sample the labels of a batch, with the negatives mined last."""
        return self._sampler.sample(rows_B, step)

    def _mine(self) -> Arrays:
        v_ND, labels_NL = self._encoder.represent(self._train.texts), self._train.labels
        graphs = build_graphs(v_ND, labels_NL, self._settings, self._seed)
        device: torch.device = self._encoder.device
        negatives_NS = choose_negatives(graphs, v_ND, labels_NL, self._settings, self._seed, device)
        self._run.record("mining", negatives_per_text=float((negatives_NS >= 0).sum(axis=1).mean()))
        return {"negatives": negatives_NS}

    def _sampler_of(self, negatives_NS: NDArray[np.int32]) -> Labels:
        num_random, device = self._settings.num_random_negatives, self._encoder.device
        return sampler_for(device, self._run.world, self._train.labels, negatives_NS, num_random, self._seed)
