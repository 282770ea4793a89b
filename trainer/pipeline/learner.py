"""One learner: Modules I to IV with one seed (paper, section 4).

Each module leaves its result in the run folder, so that a resumed run reads what an interrupted one has finished.
Several processes run Modules I, III and IV together; the first one alone runs Module II.

Shapes: N texts, R held-out texts, D dimensions, S negatives of a text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.extreme import learn_extreme
from astec.trainer.modules.negatives.sampling import candidate_arrays, shortlist
from astec.trainer.modules.surrogate.learn import learn_surrogate
from astec.trainer.modules.surrogate.old_clusters import OldClusters
from astec.trainer.parallel.world import Arrays, SplitArrays
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.mining import Mined, mine_for_learner, place_texts, search_exactly
from astec.trainer.pipeline.word_vectors import add_word_vectors
from astec.trainer.run.warm_start import CLUSTER_PREFIX
from astec.trainer.training.dense_model import LABEL_ARRAYS, DenseModel
from astec.trainer.training.lesson import ProbeTexts
from astec.trainer.training.probe import recall_metrics
from astec.trainer.training.start import start_encoder
from astec.trainer.training.taking_over import take_over
from astec.trainer.training.task import Labels

Sampling = Callable[[Job, NDArray[np.int32] | None, int], Labels]
"""Makes the labels that batches are scored against, out of the negatives [N, S], which only the first process has, and
the seed."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """The model of one learner.

    Attributes:
        model: encoder, residual and classifiers; the classifiers on the first process only.
        mined: vectors and negatives of the model; None: they were not needed to learn it in this process.
    """

    model: DenseModel
    mined: Mined | None = None


def learn_encoder(job: Job, seed: int) -> Encoder:
    """Run Module I: learn the encoder by predicting clusters of labels.

    It stays as it starts where the settings ask for no training, or where it has nothing to learn. A warm start begins
    with the encoder and the clusters of the old run.
    """

    def learn() -> SplitArrays:
        config, featurizer = job.config, job.data.featurizer
        encoder, old, learnt = start_encoder(job.train, featurizer, config, seed, job.device, job.run), None, {}
        if job.warm is not None:
            begin = job.warm.learners[seed]
            encoder.take_over(begin.encoder, job.warm.tokens)
            if begin.clusters:
                old = OldClusters(begin.clusters["clusters"], begin.clusters, job.warm.labels)
        if config.surrogate.method != "unsupervised" and config.encoder.learns:
            num_features = featurizer.num_features
            arrays, clusters_LK = learn_surrogate(
                job.train, job.probe, encoder, num_features, config, seed, job.run, old
            )
            if config.surrogate.method == "clusters":
                learnt = {**arrays, "clusters": clusters_LK.indices.astype(np.int64)}
        return {**encoder.arrays(), **{CLUSTER_PREFIX + name: one for name, one in learnt.items()}}

    arrays = job.run.together(module_one_stage(seed), learn, [CLUSTER_PREFIX + name for name in LABEL_ARRAYS])
    return add_word_vectors(job, Encoder.of(job.config.encoder, arrays, job.device), seed)


def module_one_stage(seed: int) -> str:
    """Return the name of the stage of Module I."""
    return f"surrogate-{seed}"


def learn_classifiers(job: Job, encoder: Encoder, seed: int, sample: Sampling) -> Learnt:
    """Run Module II, then Modules III and IV: mine negatives, and learn residual and classifiers on a fixed encoder."""
    probe, mined = job.probe, None

    def mine(v_ND: NDArray[np.float32], v_RD: NDArray[np.float32]) -> Arrays:
        """Mine the negatives of the texts, and return the candidates of the held-out texts for all processes."""
        nonlocal mined
        vectors = place_texts(job, job.train, v_ND, seed, "vectors")
        candidates = shortlist(search_exactly(job, vectors), v_RD, "shortlisting held-out texts")
        job.run.record("shortlist", **recall_metrics(candidates, probe.labels))
        mined = Mined(vectors, mine_for_learner(job, vectors, v_ND, seed))
        return candidate_arrays(candidates)

    def learn() -> SplitArrays:
        v_RD, v_ND = encoder.represent(probe.texts), encoder.represent(job.train.texts)
        candidates = Candidates(**job.run.world.share(lambda: mine(v_ND, v_RD)))
        labels = sample(job, None if mined is None else mined.negatives, seed)
        probe_texts = ProbeTexts(lambda: v_RD, probe.labels, candidates)
        start = None
        if job.warm is not None:
            old = job.warm.learners[seed].dense
            start = take_over(old, job.warm.labels, job.train.labels, lambda: v_ND)
        return learn_extreme(encoder, v_ND, labels, probe_texts, job.config, seed, job.run, start)

    arrays = job.run.together(f"extreme-{seed}", learn, LABEL_ARRAYS)
    return Learnt(DenseModel.of(encoder, arrays, job.labels_device), mined)
