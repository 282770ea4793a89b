"""Module II of a run: the vectors of texts and labels, and the negatives mined among them (paper, section 4).

Shapes: N texts, D dimensions, S negatives of a text.
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


def search_in(job: Job, vectors: SearchVectors) -> Shortlister:
    """Return the search of a run through some vectors."""
    return vectors.shortlister(job.config.shortlist, job.device)


def mine_for_learner(job: Job, vectors: SearchVectors, v_ND: NDArray[np.float32], seed: int) -> NDArray[np.int32]:
    """Mine the negatives that one learner trains on, [N, S]; a resumed run maps them from its folder."""
    return _mine(job, f"mining-{seed}", job.train, vectors, v_ND, seed, "mining")


def mine_for_sparse_term(
    job: Job, examples: Examples, vectors: SearchVectors, v_ND: NDArray[np.float32], stage: str
) -> NDArray[np.int32]:
    """Mine the negatives of some examples that the sparse term trains on, [N, S], under the name of a stage."""
    return _mine(job, stage, examples, vectors, v_ND, job.config.seed, stage)


def _mine(
    job: Job, stage: str, examples: Examples, vectors: SearchVectors, v_ND: NDArray[np.float32], seed: int, line: str
) -> NDArray[np.int32]:
    settings = job.config.shortlist

    def blocks() -> Iterator[NDArray[np.int32]]:
        mined = choose_negatives(search_in(job, vectors), v_ND, examples.labels, settings, seed)
        return count_negatives(mined, lambda mean: job.run.record(line, negatives_per_text=mean))

    return job.run.once_rows(stage, (len(v_ND), settings.num_hard_negatives), blocks)
