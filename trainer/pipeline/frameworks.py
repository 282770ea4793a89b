"""The frameworks by name: the ways in which one learner gets its encoder and its classifiers.

A new framework is a function and a line in `FRAMEWORKS`.

Shapes: L labels, K buckets, S negatives of a text.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.modules.negatives.rebuilt import RebuiltSampler
from astec.trainer.modules.surrogate.learn import learn_surrogate
from astec.trainer.parallel.world import SplitArrays
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.learner import Learnt, learn_classifiers, learn_encoder
from astec.trainer.training.dense_model import LABEL_ARRAYS, DenseModel
from astec.trainer.training.joint import joint_lesson, learn_jointly
from astec.trainer.training.start import start_encoder
from astec.trainer.training.task import AllLabels, Labels


def learn_deepxml(job: Job, seed: int) -> Learnt:
    """Learn by the four modules of the paper."""
    encoder = learn_encoder(job, seed)
    return learn_classifiers(job, encoder, seed, _sample_shortlists)


def learn_deepxml_ova(job: Job, seed: int) -> Learnt:
    """Learn as DeepXML-OVA: Modules III and IV score every label, not a shortlist."""
    encoder = learn_encoder(job, seed)
    return learn_classifiers(job, encoder, seed, _sample_all)


def learn_deepxml_anns(job: Job, seed: int) -> Learnt:
    """Learn as DeepXML-ANNS: the encoder of Module I learns on, with negatives mined anew for it."""

    def sample(encoder: Encoder) -> Labels:
        return RebuiltSampler(job.train, encoder, job.config.shortlist, seed, job.run)

    return _learn_end_to_end(job, seed, lambda: learn_encoder(job, seed), sample)


def learn_end_to_end(job: Job, seed: int) -> Learnt:
    """Learn without modules, as XML-CNN does: encoder and classifiers of every label are trained together."""

    def start() -> Encoder:
        return start_encoder(job.train, job.data.featurizer, job.config, seed, job.device, job.run)

    return _learn_end_to_end(job, seed, start, lambda encoder: AllLabels(job.train.labels))


def learn_mach(job: Job, seed: int) -> Learnt:
    """Learn one of MACH's repetitions: labels share the classifiers of the buckets that they are hashed to.

    Each seed hashes the labels to other buckets. With several seeds a label's logit is the mean of its buckets' logits,
    where MACH takes the mean of their probabilities (Medini et al., NeurIPS 2019, section 3).
    """
    config, featurizer = job.config, job.data.featurizer

    def learn() -> SplitArrays:
        encoder = start_encoder(job.train, featurizer, config, seed, job.device, job.run)
        num_features = featurizer.num_features
        learnt, membership_LK = learn_surrogate(job.train, job.probe, encoder, num_features, config, seed, job.run)
        return {**encoder.arrays(), **learnt, "buckets": membership_LK.indices.astype(np.int64)}

    arrays = job.run.together(f"surrogate-{seed}", learn)
    buckets_L = torch.from_numpy(arrays["buckets"]).to(job.device)
    of_buckets = DenseModel.of(Encoder.of(config.encoder, arrays, job.device), arrays)
    classifier_LD, bias_L = of_buckets.classifier[buckets_L], of_buckets.bias[buckets_L]
    return Learnt(DenseModel(of_buckets.encoder, of_buckets.residuals, classifier_LD, bias_L))


Framework = Callable[[Job, int], Learnt]
FRAMEWORKS: dict[str, Framework] = {
    "deepxml": learn_deepxml,
    "deepxml-ova": learn_deepxml_ova,
    "deepxml-anns": learn_deepxml_anns,
    "end-to-end": learn_end_to_end,
    "mach": learn_mach,
}


def _learn_end_to_end(job: Job, seed: int, start: Callable[[], Encoder], sample: Callable[[Encoder], Labels]) -> Learnt:
    """Train the encoder that `start` returns together with classifiers, on the labels that `sample` draws."""
    config, probe = job.config, job.probe

    def learn() -> SplitArrays:
        encoder = start()
        lesson = joint_lesson(encoder, job.train.texts, sample(encoder), (probe.texts, probe.labels))
        learnt = learn_jointly("extreme", encoder, lesson, config, seed, job.run)
        return {**encoder.arrays(), **learnt}

    arrays = job.run.together(f"extreme-{seed}", learn, LABEL_ARRAYS)
    return Learnt(DenseModel.of(Encoder.of(config.encoder, arrays, job.device), arrays, job.labels_device))


def _sample_shortlists(job: Job, negatives_NS: NDArray[np.int32] | None, seed: int) -> Labels:
    return sampler_for(job.device, job.run.world, job.train.labels, negatives_NS, job.config.shortlist, seed)


def _sample_all(job: Job, negatives_NS: NDArray[np.int32] | None, seed: int) -> Labels:
    return AllLabels(job.train.labels)
