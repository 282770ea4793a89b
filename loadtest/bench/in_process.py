"""The cost of a query without HTTP, on one thread: text in, top 5 labels out.

Shapes: Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query
from astec.server.engine.predictor import Predictor

TOP_K = 5
PERCENTILES = (50, 90, 99)
BATCH_SIZES = (1, 8, 32, 128)
STAGES = ("featurize", "encode", "shortlist", "score")


@dataclass(frozen=True, slots=True)
class InProcess:
    """Microseconds per query in process.

    Attributes:
        single_us: `PERCENTILES` of a query that is asked alone.
        stages_us: the same percentiles for each of `STAGES`.
        batch_us: mean time per query in batches, by batch size.
    """

    single_us: list[float]
    stages_us: dict[str, list[float]]
    batch_us: dict[int, float]

    @property
    def p50_us(self) -> float:
        """The median of a query that is asked alone."""
        return self.single_us[0]


def measure_in_process(artifact: Artifact, queries: Sequence[Query], count: int) -> InProcess:
    """Ask `count` queries one after another, then in batches."""
    predictor = Predictor(artifact)
    asked = list(islice(cycle(queries), count))
    for query in asked:
        predictor.predict([query], TOP_K)
    total_Q, stages_QS = time_queries(predictor, asked)
    return InProcess(
        single_us=percentiles_us(total_Q),
        stages_us={name: percentiles_us(stages_QS[:, column]) for column, name in enumerate(STAGES)},
        batch_us={size: batch_us(predictor, asked, size) for size in BATCH_SIZES},
    )


def time_queries(predictor: Predictor, asked: Sequence[Query]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ask one query after another; return the seconds of each, [Q], and those of each of its `STAGES`, [Q, 4]."""
    total_Q, stages_QS = np.empty(len(asked)), np.empty((len(asked), len(STAGES)))
    for row, query in enumerate(asked):
        begun_s = perf_counter()
        _, stage = predictor.predict([query], TOP_K)
        total_Q[row] = perf_counter() - begun_s
        stages_QS[row] = stage.featurize_s, stage.encode_s, stage.shortlist_s, stage.score_s
    return total_Q, stages_QS


def percentiles_us(times_Q: NDArray[np.float64]) -> list[float]:
    """Return the `PERCENTILES` of times in seconds, in microseconds."""
    return [1e6 * float(value) for value in np.percentile(times_Q, PERCENTILES)]


def batch_us(predictor: Predictor, asked: list[Query], size: int) -> float:
    """Return the mean microseconds per query in batches of `size`."""
    begun_s = perf_counter()
    for begin in range(0, len(asked), size):
        predictor.predict(asked[begin : begin + size], TOP_K)
    return 1e6 * (perf_counter() - begun_s) / len(asked)
