"""The choice of a plan by its tradeoff of accuracy against cost, in trials on the held-out texts.

First, the neighbours in each space are found exactly, which needs no graph and shows the accuracy that a dimension and
a number of neighbours can reach, and how much choosing flatters. Then graphs are built for the cheapest plans that are
accurate enough, and searched with a rising `ef_search` until they are as accurate. Last, the smallest number of labels
to score is found. Accuracy is compared in expected hits. The cost is a count of operations, not a time, so that equal
models get equal plans on every machine.

Shapes: R held-out texts, N vectors, d dimensions of the indices, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, NeighbourIndex, StoredIndex
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.manifest import WeightType
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.console import track
from astec.export.search.cost import exact_cost_us, scoring_cost_us, search_cost_us
from astec.export.search.exhaustive import ExhaustiveShortlister
from astec.export.search.expected_hits import PROBABLE_RANKS, ExpectedHits
from astec.export.search.indices import IndexBuilder
from astec.export.search.judge import RANKS, Judge, Ranking
from astec.export.search.known_hits import Hits
from astec.export.search.limits import FREE_US, Limits, best_of_cheap
from astec.export.search.plan import EF_CONSTRUCTION, IndexPlan, SearchSpace, ShortlistKind, ShortlistPlan, Side
from astec.export.search.trial import NUM_REFERENCES, Choice, Trial

_EF_FACTORS = (1, 1.5, 2, 3, 4, 6, 8)
_SPACES_WITH_INDICES = 3
_MAX_VECTORS_INDEXED = 300_000  # in all graphs but the first: building graphs takes most of the time
_TIMED_TEXTS = 200


def choose_plan(builder: IndexBuilder, space: SearchSpace) -> Choice:
    """Choose the cheapest plan within the limits; where there is none, the most accurate plan.

    Without held-out texts, a space of a single plan is accepted without a trial.

    Args:
        builder: builds indices over the vectors of a checkpoint that has not learnt its held-out texts.
        space: the plans to choose from.

    Raises:
        ValueError: there is a choice but there are no held-out texts, or votes have a share in a score but the space
            has centroids only, which give no votes.
    """
    checkpoint = builder.checkpoint
    if set(space.kinds) == {"centroids"} and checkpoint.shares.delta > 0:
        raise ValueError(
            f"votes have a share of {checkpoint.shares.delta:g} in a score, and centroids alone cast none: "
            "choose --shortlist points or union"
        )
    if not len(checkpoint.held_out.bags) and (plan := _only_plan(builder, space)) is not None:
        return Choice(plan, None, [], within_limits=True, fresh_loss=None)
    return _Search(builder, space).run()


def judge_int8(builder: IndexBuilder, plan: ShortlistPlan) -> Trial:
    """Try a plan with embeddings, classifiers and representatives in int8.

    Raises:
        ValueError: there are no held-out texts.
    """
    return _Search(builder, SearchSpace(), "int8").try_plan(plan)


def score_held_out(
    builder: IndexBuilder, plan: ShortlistPlan, weights: WeightType, top_k: int
) -> tuple[Ranking, ScoredPairs]:
    """Return the best labels of the held-out texts by a plan, and the pairs of a text and a label among them.

    Raises:
        ValueError: there are no held-out texts.
    """
    return _Search(builder, SearchSpace(), weights).score(plan, top_k)


def _only_plan(builder: IndexBuilder, space: SearchSpace) -> ShortlistPlan | None:
    """Return the single plan of a space; None where the space leaves a choice."""
    kind, *more_kinds = space.kinds
    numbers = space.neighbours_of(kind)
    if (
        more_kinds
        or space.ef_search is None
        or any(len(some) > 1 for some in (space.dims, space.ms, *numbers.values()))
    ):
        return None
    chosen = {side: neighbours for side, (neighbours,) in numbers.items()}
    return _plan(builder, space, min(space.dims[0], builder.dim), chosen, space.ms[0])


def _plan(
    builder: IndexBuilder, space: SearchSpace, dim: int, numbers: dict[Side, int], m: int, ef_factor: float = 1
) -> ShortlistPlan:
    plans: dict[Side, IndexPlan] = {}
    for side, neighbours in numbers.items():
        ef_search = space.ef_search or round(ef_factor * neighbours)
        backend = space.backend_for(builder.count(side), dim)
        plans[side] = IndexPlan(backend, HnswParams(m, EF_CONSTRUCTION, max(ef_search, neighbours)), neighbours)
    return ShortlistPlan(dim, plans.get("centroids"), plans.get("points"), space.pinned_max_candidates)


class _Search:
    def __init__(self, builder: IndexBuilder, space: SearchSpace, weights: WeightType = "float32") -> None:
        self._builder, self._space, self._weights = builder, space, weights
        self._judge = Judge(builder.checkpoint, int8=weights == "int8")
        self._representatives = builder.representatives(int8=weights == "int8")
        self._limits = Limits((space.max_loss, space.max_psp_loss))
        self._expected: ExpectedHits | None = None
        self._best_2R = np.full((2, 1), np.nan)  # of the better reference, which losses are compared with
        self._trials: list[Trial] = []
        self._indexed = 0

    def run(self) -> Choice:
        self._trials += self._try_references()
        spaces = list(product(self._kinds(), self._dims()))
        for kind, dim in track(spaces, "trying spaces"):
            self._trials += self._try_exact(kind, dim)
        self._limits = self._limits.lowered_for(self._trials[NUM_REFERENCES:])
        reaching = sorted(filter(self._limits.allow, self._trials[NUM_REFERENCES:]), key=lambda trial: trial.cost_us)
        built: list[Trial] = []
        tried = list(product(self._space.ms, reaching[:_SPACES_WITH_INDICES]))
        for m, trial in track(tried, "trying indices"):
            built += self._try_index(trial, m)
        self._trials += built
        if within := [trial for trial in built if self._limits.allow(trial)]:
            return self._choose(self._limit(best_of_cheap(within)))
        return self._most_accurate()

    def _most_accurate(self) -> Choice:
        """Choose the most accurate plan, for limits that no plan is within."""
        best = min(self._trials[NUM_REFERENCES:], key=lambda trial: trial.loss)
        built = [trial for m in self._space.ms for trial in self._try_index(best, m)]
        self._trials += built
        return self._choose(min(built, key=lambda trial: trial.loss))

    def _limit(self, trial: Trial) -> Trial:
        """Return a trial with a limit of labels to score within the limits of loss; `trial` if that is as good."""
        if trial.plan is None or self._space.pinned_max_candidates is not None:
            return trial
        within = [trial]
        for max_candidates in track(sorted(self._space.max_candidates), "trying limits"):
            limited = self.try_plan(replace(trial.plan, max_candidates=max_candidates))
            self._trials.append(limited)
            if self._limits.allow(limited):
                within.append(limited)
            if limited.cost_us > min(one.cost_us for one in within) + FREE_US:
                break
        return best_of_cheap(within)

    def _choose(self, trial: Trial) -> Choice:
        if trial.plan is None:
            raise AssertionError("the scoring of every label is no plan")
        limits = self._limits
        return Choice(trial.plan, trial, self._trials, limits.allow(trial), limits.fresh_loss(trial))

    def _kinds(self) -> list[ShortlistKind]:
        """Return the kinds of shortlists to try; where votes have a share in a score, centroids alone are left out."""
        votes = self._builder.checkpoint.shares.delta > 0
        return [kind for kind in self._space.kinds if kind != "centroids" or not votes]

    def _dims(self) -> list[int]:
        return sorted({min(dim, self._builder.dim) for dim in self._space.dims})

    def _try_references(self) -> list[Trial]:
        """Score every label, and search as trained; learn from both what labels are probably right."""
        plan, hits = self._as_trained()
        everything, searched = self._rank_everything(), self._rank(plan, hits, PROBABLE_RANKS)
        judge = self._judge
        self._expected = ExpectedHits(everything, searched, judge.relevant, judge.inverse_propensities_L)
        gains_R2R = np.stack([self._expected.gains(ranking.labels) for ranking in (everything, searched)])
        better_2 = gains_R2R.mean(axis=2).argmax(axis=0)
        self._best_2R = gains_R2R[better_2, [0, 1]]
        return [self._trial_of_everything(everything), self._trial_of(plan, "exact", hits, searched)]

    def _rank_everything(self) -> Ranking:
        """Score every label; votes are those of the exact neighbours in all dimensions."""
        builder, checkpoint = self._builder, self._builder.checkpoint
        neighbours, num_labels, labels = checkpoint.point_neighbours, len(checkpoint.labels), checkpoint.point_labels
        near = self._find(FlatIndex(checkpoint.points), builder.dim, neighbours)

        def shortlister_of(rows: slice) -> Shortlister:
            points = LabelGraph(near.take(rows), labels, neighbours)
            return ExhaustiveShortlister(Shortlister(None, points, self._representatives), num_labels)

        return self._judge.rank(shortlister_of, PROBABLE_RANKS, self._judge.exhaustive_chunk())

    def _trial_of_everything(self, ranking: Ranking) -> Trial:
        checkpoint = self._builder.checkpoint
        cost_us = exact_cost_us(checkpoint.points.size) + scoring_cost_us(len(checkpoint.labels))
        return Trial(None, "exact", self._judge.figures(ranking), cost_us, losses=self._losses(ranking))

    def _as_trained(self) -> tuple[ShortlistPlan, dict[Side, Hits]]:
        """Search both sides exactly, in all dimensions, with the numbers of hits of the training run."""
        builder, checkpoint = self._builder, self._builder.checkpoint
        numbers: dict[Side, int] = {"centroids": checkpoint.centroid_neighbours, "points": checkpoint.point_neighbours}
        hits = {
            side: self._find(_flat(builder.vectors(side, builder.dim)), builder.dim, k) for side, k in numbers.items()
        }
        plan = _plan(builder, self._space, builder.dim, numbers, self._space.ms[0])
        return replace(plan, max_candidates=None), hits

    def _try_exact(self, kind: ShortlistKind, dim: int) -> Iterator[Trial]:
        """Try every number of neighbours in a space, without an index."""
        numbers = self._space.neighbours_of(kind)
        hits = {
            side: self._find(_flat(self._builder.vectors(side, dim)), dim, max(some)) for side, some in numbers.items()
        }
        for chosen in product(*numbers.values()):
            plan = _plan(self._builder, self._space, dim, dict(zip(numbers, chosen, strict=True)), self._space.ms[0])
            yield self._trial(plan, "exact", hits)

    def _try_index(self, exact: Trial, m: int) -> Iterator[Trial]:
        """Try indices for the space and the neighbours of an exact trial, raising `ef_search` until it is enough."""
        if exact.plan is None:
            return
        numbers = {side: plan.neighbours for side, plan in exact.plan.sides().items()}
        is_flat = all(plan.backend == "flat" for plan in exact.plan.sides().values())
        if is_flat and m != self._space.ms[0]:  # m and ef_search do not matter: the search is exact
            return
        vectors = sum(self._builder.count(side) for side in numbers)
        if self._indexed and self._indexed + vectors > _MAX_VECTORS_INDEXED:
            return
        self._indexed += vectors
        for ef_factor in (1,) if self._space.ef_search or is_flat else _EF_FACTORS:
            tried = self.try_plan(_plan(self._builder, self._space, exact.plan.dim, numbers, m, ef_factor))
            yield tried
            if self._is_enough(tried, exact):
                break

    def _is_enough(self, tried: Trial, exact: Trial) -> bool:
        """Return whether a trial is within the limits, or, where the exact trial is not, as accurate as that."""
        if self._limits.allow(exact):
            return self._limits.allow(tried)
        return tried.loss[0] <= exact.loss[0]

    def try_plan(self, plan: ShortlistPlan) -> Trial:
        """Try a plan with the indices that the server would use."""
        sides = self._indices(plan)
        hits = self._hits(plan, sides)
        trial = self._trial(plan, "+".join(dict.fromkeys(side.backend for side in plan.sides().values())), hits)
        search_us = sum(self._time(index, plan.dim, plan.sides()[side].neighbours) for side, index in sides.items())
        return replace(trial, search_us=search_us)

    def score(self, plan: ShortlistPlan, top_k: int) -> tuple[Ranking, ScoredPairs]:
        """Return the best labels of the held-out texts, with the indices that the server would use, and their pairs."""
        ranking = self._rank(plan, self._hits(plan, self._indices(plan)), top_k)
        return ranking, ScoredPairs.of(ranking.labels, ranking.scores, self._judge.relevant)

    def _indices(self, plan: ShortlistPlan) -> dict[Side, StoredIndex]:
        return {side: index for side, index in self._builder.build(plan).sides().items() if index is not None}

    def _hits(self, plan: ShortlistPlan, indices: dict[Side, StoredIndex]) -> dict[Side, Hits]:
        return {side: self._find(index, plan.dim, plan.sides()[side].neighbours) for side, index in indices.items()}

    def _trial(self, plan: ShortlistPlan, index: str, hits: dict[Side, Hits]) -> Trial:
        return self._trial_of(plan, index, hits, self._rank(plan, hits, RANKS[-1]))

    def _trial_of(self, plan: ShortlistPlan, index: str, hits: dict[Side, Hits], ranking: Ranking) -> Trial:
        search_us = sum(search_cost_us(side, plan.dim, hits[name].count) for name, side in plan.sides().items())
        figures, cost_us = self._judge.figures(ranking), search_us + scoring_cost_us(ranking.scored)
        return Trial(plan, index, figures, cost_us, weights=self._weights, losses=self._losses(ranking))

    def _losses(self, ranking: Ranking) -> NDArray[np.float64]:
        """Return the losses of a ranking; NaN where nothing has been learnt to compare it by."""
        return self._best_2R - (0 if self._expected is None else self._expected.gains(ranking.labels))

    def _rank(self, plan: ShortlistPlan, hits: dict[Side, Hits], top_k: int) -> Ranking:
        return self._judge.rank(lambda rows: self._shortlister(plan, hits, rows), top_k)

    def _shortlister(self, plan: ShortlistPlan, hits: dict[Side, Hits], rows: slice) -> Shortlister:
        sides = plan.sides()
        graphs = {
            side: LabelGraph(found.take(rows), self._builder.labels(side), sides[side].neighbours)
            for side, found in hits.items()
        }
        return Shortlister(graphs.get("centroids"), graphs.get("points"), self._representatives, plan.max_candidates)

    def _find(self, index: NeighbourIndex, dim: int, neighbours: int) -> Hits:
        return Hits.find(index, self._builder.project(self._judge.texts.v, dim), neighbours)

    def _time(self, index: NeighbourIndex, dim: int, neighbours: int) -> float:
        """Measure the microseconds of one search, the median over some texts."""
        z_Rd = self._builder.project(self._judge.texts.v[:_TIMED_TEXTS], dim)
        times: list[float] = []
        for z_d in z_Rd:
            begun = perf_counter()
            index.search(z_d[None], neighbours)
            times.append(perf_counter() - begun)
        return 1e6 * float(median(times))


def _flat(vectors_Nd: NDArray[np.float32]) -> FlatIndex:
    return FlatIndex.build(vectors_Nd, HnswParams(2, 1, 1), 0)  # a flat index ignores the parameters and the seed
