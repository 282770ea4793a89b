"""Module II of a run: the vectors of texts and labels, and the negatives mined among them (paper, section 4).

Shapes: N texts that are learnt from, M texts of the data, R of them that are not learnt from, B texts of a block, D
dimensions, S negatives of a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.trainer.data.examples import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.sampling import choose_negatives, count_negatives
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.pipeline.job import Job

_BLOCK_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class Mined:
    """The vectors that are searched, and negatives of each training text, int32 [N, S], -1 where a text has fewer."""

    vectors: SearchVectors
    negatives: NDArray[np.int32]


def mine_by_one_learner(job: Job, encoder: Encoder, seed: int) -> Mined:
    """Run Module II over the representations of one learner."""
    v_ND = encoder.represent(job.train.texts)
    vectors = place_texts(job, job.train, v_ND, seed, "vectors")
    return Mined(vectors, mine_for_learner(job, vectors, v_ND, seed))


def place_texts(job: Job, examples: Examples, v_ND: NDArray[np.float32], seed: int, line: str) -> SearchVectors:
    """Make the vectors of some examples and record their numbers in a line of the run's history."""
    vectors = SearchVectors.of(v_ND, examples.labels, job.config.shortlist, seed)
    job.run.record(line, representatives=len(vectors.centroids), points=len(vectors.points))
    return vectors


def search_exactly(job: Job, vectors: SearchVectors) -> Shortlister:
    """Return a run's search for the candidates of held-out texts."""
    return vectors.shortlister(job.config.shortlist, job.device)


def search_for_mining(job: Job, vectors: SearchVectors) -> Shortlister:
    """Return a run's search for the negatives of all texts."""
    return vectors.mining_shortlister(job.config.shortlist, job.device, job.config.seed)


def mine_for_learner(job: Job, vectors: SearchVectors, v_ND: NDArray[np.float32], seed: int) -> NDArray[np.int32]:
    """Mine the negatives that one learner trains on, [N, S]; a resumed run maps them from its folder."""
    return _mine(job, f"mining-{seed}", vectors, v_ND, seed, "mining")


def mine_for_ensemble(job: Job, vectors: SearchVectors, v_ND: NDArray[np.float32]) -> NDArray[np.int32]:
    """Mine the negatives of the joined learners, on which the sparse term trains, [N, S]."""
    return _mine(job, "joint-mining", vectors, v_ND, job.config.seed, "joint-mining")


def add_negatives_of_rest(
    job: Job, negatives_NS: NDArray[np.int32], vectors: SearchVectors, v_MD: NDArray[np.float32], stage: str
) -> NDArray[np.int32]:
    """Add the negatives of all texts that were not learnt from, [M, S] in the order of the data, as a stage.

    Those of the texts that were learnt from stay as they are: with the few more texts they would hardly change, and to
    mine them again takes as long as the first time.

    Args:
        job: the run.
        negatives_NS: negatives of the texts that were learnt from.
        vectors: those of all M texts.
        v_MD: representations of all texts.
        stage: its name.
    """
    settings, labels_ML = job.config.shortlist, job.data.examples.labels
    rest_R = np.setdiff1d(np.arange(len(v_MD)), job.train_rows)
    positions_M = np.empty(len(v_MD), np.int64)
    positions_M[job.train_rows] = np.arange(len(job.train_rows))
    positions_M[rest_R] = len(job.train_rows) + np.arange(len(rest_R))

    def blocks() -> Iterator[NDArray[np.int32]]:
        shortlister = search_exactly(job, vectors)
        mined = choose_negatives(shortlister, v_MD[rest_R], labels_ML[rest_R], settings, job.config.seed)
        rest_RS = np.concatenate([*mined])
        for begin in range(0, len(positions_M), _BLOCK_TEXTS):
            positions_B = positions_M[begin : begin + _BLOCK_TEXTS]
            learnt_B = positions_B < len(negatives_NS)
            block_BS = np.empty((len(positions_B), settings.num_hard_negatives), np.int32)
            block_BS[learnt_B] = negatives_NS[positions_B[learnt_B]]
            block_BS[~learnt_B] = rest_RS[positions_B[~learnt_B] - len(negatives_NS)]
            yield block_BS
        job.run.record(stage)

    return job.run.once_rows(stage, (len(v_MD), settings.num_hard_negatives), blocks)


def _mine(
    job: Job, stage: str, vectors: SearchVectors, v_ND: NDArray[np.float32], seed: int, line: str
) -> NDArray[np.int32]:
    settings = job.config.shortlist

    def blocks() -> Iterator[NDArray[np.int32]]:
        mined = choose_negatives(search_for_mining(job, vectors), v_ND, job.train.labels, settings, seed)
        return count_negatives(mined, lambda mean: job.run.record(line, negatives_per_text=mean))

    return job.run.once_rows(stage, (len(v_ND), settings.num_hard_negatives), blocks)
