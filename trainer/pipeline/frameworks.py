"""Frameworks by name: how a learner comes to its encoder and its classifiers. A new one is a class and a line here.

Shapes: L labels, K buckets, S negatives of a text.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.rebuilt import RebuiltSampler
from astec.trainer.modules.surrogate.learn import learn_surrogate
from astec.trainer.parallel.world import Arrays
from astec.trainer.pipeline.learner import Learner
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.joint import learn_jointly
from astec.trainer.training.start import start_encoder
from astec.trainer.training.task import AllLabels, Labels


class OvaLearner(Learner):
    """DeepXML-OVA: Modules III and IV look at every label, not at a shortlist."""

    def label_samples(self, negatives_NS: NDArray[np.int32]) -> Labels:
        """See `Learner.label_samples`."""
        return AllLabels(self.train.labels)


class JointLearner(Learner):
    """Without modules: encoder and classifiers of every label trained together, as XML-CNN is."""

    @cached_property
    def encoder(self) -> Encoder:
        """What the classifiers were trained with."""
        return self.model.encoder

    @cached_property
    def model(self) -> DenseModel:
        """All of it."""
        arrays = self.run.together(f"extreme-{self.seed}", self._learn)
        return DenseModel.of(Encoder.of(self.config.encoder, arrays, self.device), arrays)

    def start(self) -> Encoder:
        """Where the encoder starts from."""
        return start_encoder(self.train, self.featurizer, self.config, self.seed, self.device, self.run)

    def labels(self, encoder: Encoder) -> Labels:
        """What a batch is scored against."""
        return AllLabels(self.train.labels)

    def _learn(self) -> Arrays:
        encoder, held = self.start(), (self.held.texts, self.held.labels)
        labels = self.labels(encoder)
        return _arrays(
            learn_jointly("extreme", encoder, self.train.texts, labels, held, self.config, self.seed, self.run)
        )


class AnnsLearner(JointLearner):
    """DeepXML-ANNS: the encoder of Module I goes on learning, on shortlists from graphs that follow it."""

    def start(self) -> Encoder:
        """Module I's."""
        arrays = self.run.together(f"surrogate-{self.seed}", lambda: self.learn_encoder().arrays())
        return Encoder.of(self.config.encoder, arrays, self.device)

    def labels(self, encoder: Encoder) -> Labels:
        """The neighbours of the texts of a batch."""
        return RebuiltSampler(self.train, encoder, self.config.shortlist, self.seed, self.run)


class MachLearner(Learner):
    """One of MACH's repetitions: labels share classifiers of the buckets that they are hashed to.

    With several seeds the buckets of a label are others in each, and what is served is the mean of their logits, where
    MACH takes that of their probabilities (Medini et al., NeurIPS 2019, section 3).
    """

    @cached_property
    def encoder(self) -> Encoder:
        """What the buckets were trained with."""
        return self.model.encoder

    @cached_property
    def model(self) -> DenseModel:
        """The classifiers of each label's bucket."""
        arrays = self.run.together(f"surrogate-{self.seed}", self._learn)
        buckets_L = torch.from_numpy(arrays["buckets"]).to(self.device)
        of_buckets = DenseModel.of(Encoder.of(self.config.encoder, arrays, self.device), arrays)
        return DenseModel(
            of_buckets.encoder, of_buckets.residuals, of_buckets.classifier[buckets_L], of_buckets.bias[buckets_L]
        )

    def _learn(self) -> Arrays:
        rest = self.config, self.seed
        encoder = start_encoder(self.train, self.featurizer, *rest, self.device, self.run)
        sizes = self.featurizer.num_features, *rest
        model, membership_LK = learn_surrogate(self.train, self.held, encoder, *sizes, self.run)
        return _arrays(model) | {"buckets": membership_LK.indices.astype(np.int64)}


FRAMEWORKS: dict[str, type[Learner]] = {
    "deepxml": Learner,
    "deepxml-ova": OvaLearner,
    "deepxml-anns": AnnsLearner,
    "end-to-end": JointLearner,
    "mach": MachLearner,
}


def _arrays(model: DenseModel) -> Arrays:
    return model.encoder.arrays() | model.classifier_arrays()
