"""Module II of a run: ANN graphs over texts and labels, and the negatives mined with them (paper, section 4).

Shapes: N texts, D dimensions, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.trainer.data.examples import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.sampling import Graphs, build_graphs, choose_negatives
from astec.trainer.parallel.world import Arrays
from astec.trainer.pipeline.job import Job


@dataclass(frozen=True, slots=True)
class Mined:
    """The ANN graphs, and negatives of each training text, int32 [N, S], -1 where a text has fewer."""

    graphs: Graphs
    negatives: NDArray[np.int32]


def mine_by_one_learner(job: Job, encoder: Encoder, seed: int) -> Mined:
    """Run Module II over the representations of one learner."""
    v_ND = encoder.represent(job.train.texts)
    graphs = index_texts(job, job.train, v_ND, seed, "graphs")
    return Mined(graphs, mine_for_learner(job, graphs, v_ND, seed))


def index_texts(job: Job, examples: Examples, v_ND: NDArray[np.float32], seed: int, line: str) -> Graphs:
    """Build the graphs over some examples and record their sizes in a line of the run's history."""
    graphs = build_graphs(v_ND, examples.labels, job.config.shortlist, seed)
    job.run.record(line, representatives=graphs.centroids.count, points=graphs.points.count)
    return graphs


def mine_for_learner(job: Job, graphs: Graphs, v_ND: NDArray[np.float32], seed: int) -> NDArray[np.int32]:
    """Mine the negatives that one learner trains on, [N, S]; a resumed run reads them from its folder."""

    def mine() -> Arrays:
        negatives_NS = choose_negatives(graphs, v_ND, job.train.labels, job.config.shortlist, seed, job.device)
        job.run.record("mining", negatives_per_text=float((negatives_NS >= 0).sum(axis=1).mean()))
        return {"negatives": negatives_NS}

    negatives: NDArray[np.int32] = job.run.once(f"mining-{seed}", mine)["negatives"]
    return negatives


def mine_for_sparse_term(
    job: Job, examples: Examples, graphs: Graphs, v_ND: NDArray[np.float32], stage: str
) -> NDArray[np.int32]:
    """Mine the negatives of some examples that the sparse term trains on, [N, S], under the name of a stage."""
    settings = job.config.shortlist

    def mine() -> Arrays:
        return {"negatives": choose_negatives(graphs, v_ND, examples.labels, settings, job.config.seed, job.device)}

    negatives: NDArray[np.int32] = job.run.once(stage, mine)["negatives"]
    job.run.record(stage)
    return negatives
