"""The choice of a plan: the cheapest within the limits, and the same one every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astec.export.artifact.index.base import Backend, HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.store import open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import IndexBuilder
from astec.export.search.limits import FREE_US, best_of_cheap
from astec.export.search.plan import IndexPlan, SearchSpace, ShortlistKind, ShortlistPlan
from astec.export.search.tradeoff import choose_plan, judge_int8
from astec.export.search.trial import Choice, Trial

SMALL = SearchSpace(
    ("points", "centroids"),
    "hnswlib",
    dims=(4, 16, 32),
    neighbours=(5, 20),
    centroid_neighbours=(30, 100, 200),
    ms=(2, 8),
    max_candidates=(),
    # Scoring every label finds labels by their texts alone, which these few neighbours miss.
    max_loss=1.0,
    max_psp_loss=4,
)
PINNED = SearchSpace(kinds=("points",), dims=(8,), neighbours=(7,), ms=(6,), ef_search=19, backend="hnswlib")


@pytest.fixture(scope="module")
def demo_checkpoint(demo_run: Path) -> Checkpoint:
    return read_checkpoint(demo_run)


@pytest.fixture(scope="module")
def demo_builder(demo_checkpoint: Checkpoint) -> IndexBuilder:
    return IndexBuilder(demo_checkpoint.before_refit())


@pytest.fixture(scope="module")
def choice(demo_builder: IndexBuilder) -> Choice:
    return choose_plan(demo_builder, SMALL)


@pytest.fixture(scope="module")
def untrained(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    """An untrained checkpoint with a share for similarities only."""
    return replace(make_checkpoint(parts=False), shares=Shares(0.0)).before_refit()


@pytest.fixture(scope="module")
def self_taught(untrained: Checkpoint) -> Checkpoint:
    """A checkpoint whose classifiers are always right, independently of the points: a missed label is a lost hit."""
    held_out, model = untrained.held_out, untrained.model
    best = np.argmax(held_out.x_hat @ model.classifier.T + model.bias, axis=1).astype(np.int32)
    return replace(untrained, shares=Shares(1.0), held_out=replace(held_out, labels=LabelSets.one_each(best)))


def without_held_out(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, held_out=checkpoint.held_out.take(0))


def plan_of(trial: Trial) -> ShortlistPlan:
    assert trial.plan is not None
    return trial.plan


def is_within(trial: Trial, choice: Choice) -> bool:
    """Return whether a trial is within the limits on texts that did not choose."""
    assert choice.chosen is not None
    assert choice.fresh_loss is not None
    limits = zip(trial.loss, choice.fresh_loss, choice.chosen.loss, (SMALL.max_loss, SMALL.max_psp_loss), strict=True)
    return all(loss + (fresh - own) <= most + 1e-9 for loss, fresh, own, most in limits)


def test_the_first_trial_scores_every_label(choice: Choice, demo_checkpoint: Checkpoint) -> None:
    first = choice.trials[0]
    assert (first.plan, first.index) == (None, "exact")
    assert first.figures.labels == pytest.approx(len(demo_checkpoint.labels), rel=0.01)
    assert first.figures.metrics["P@1"] > 10


def test_the_second_searches_as_the_training_did(choice: Choice, demo_checkpoint: Checkpoint) -> None:
    second = choice.trials[1]
    assert (plan_of(second).kind, plan_of(second).dim, second.index) == ("union", 32, "exact")
    neighbours = {side: plan.neighbours for side, plan in plan_of(second).sides().items()}
    assert neighbours == {
        "centroids": demo_checkpoint.centroid_neighbours,
        "points": demo_checkpoint.point_neighbours,
    }
    # The choice of the shares ranked the same texts with the same candidates, except for those that its graphs missed.
    assert second.figures.metrics["P@1"] == pytest.approx(demo_checkpoint.metrics["P@1"], abs=1)
    # PSP@k has other weights here: the checkpoint counts the held-out texts among those of their labels.
    assert second.figures.metrics["P@5"] == pytest.approx(demo_checkpoint.metrics["P@5"], abs=1)


def test_every_space_is_tried_exactly(choice: Choice) -> None:
    plans = [plan_of(trial) for trial in choice.trials[2:] if trial.index == "exact"]
    tried = [(plan.kind, plan.dim, *(side.neighbours for side in plan.sides().values())) for plan in plans]
    points = [("points", dim, neighbours) for dim in (4, 16, 32) for neighbours in (5, 20)]
    assert tried == points + [("centroids", dim, neighbours) for dim in (4, 16, 32) for neighbours in (30, 100, 200)]


def test_the_chosen_plan_is_within_the_limits_and_the_best_of_the_cheapest_of_those_built(choice: Choice) -> None:
    assert choice.within_limits
    assert choice.chosen is not None
    assert choice.plan == choice.chosen.plan
    assert choice.chosen.search_us is not None
    built = [trial for trial in choice.trials if trial.index == "hnswlib"]
    assert len(built) > 1
    assert is_within(choice.chosen, choice)
    within = [trial for trial in built if is_within(trial, choice)]
    assert choice.chosen.cost_us <= min(trial.cost_us for trial in within) + FREE_US
    cheaper = [trial for trial in within if trial.cost_us <= choice.chosen.cost_us]
    assert min(trial.loss for trial in cheaper) == choice.chosen.loss


def test_a_graph_is_walked_with_more_and_more_care_until_it_does(choice: Choice) -> None:
    graphs: dict[tuple[int, int, int], list[Trial]] = {}
    for trial in choice.trials:
        if trial.index == "hnswlib" and (centroids := plan_of(trial).centroids) is not None:
            graphs.setdefault((plan_of(trial).dim, centroids.neighbours, centroids.params.m), []).append(trial)
    assert {m for _, _, m in graphs} == {2, 8}
    assert max(len(trials) for trials in graphs.values()) > 1
    for trials in graphs.values():
        assert all(one.cost_us < other.cost_us for one, other in pairwise(trials))
        assert not any(is_within(trial, choice) for trial in trials[:-1])


def test_the_choice_is_the_same_every_time(demo_run: Path, choice: Choice, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(demo_run)
    builder = IndexBuilder(checkpoint)
    again = choose_plan(IndexBuilder(checkpoint.before_refit()), SMALL)
    assert again.plan == choice.plan
    timeless = [[replace(trial, search_us=None) for trial in one.trials] for one in (choice, again)]
    assert timeless[0] == timeless[1]
    versions = []
    for name, one in (("one", choice), ("two", again)):
        pack(checkpoint, builder.build(one.plan), tmp_path / name, "demo", PackOptions(trials=one.trials))
        versions.append(open_artifact(tmp_path / name).manifest.model.version)
    assert versions[0] == versions[1]
    cards = [(tmp_path / name / "model_card.md").read_text() for name in ("one", "two")]
    assert cards[0] == cards[1]


def test_what_is_pinned_is_kept(demo_builder: IndexBuilder) -> None:
    chosen = choose_plan(demo_builder, PINNED).plan
    assert chosen.kind == "points"
    assert chosen.points is not None
    assert chosen.dim == 8
    assert (chosen.points.neighbours, chosen.points.params.m, chosen.points.params.ef_search) == (7, 6, 19)


@pytest.mark.parametrize(
    ("kinds", "chosen"), [(("points", "union"), "union"), (("union", "centroids", "points"), "centroids")]
)
def test_another_kind_is_taken_where_points_do_not_reach_enough(
    self_taught: Checkpoint, kinds: tuple[ShortlistKind, ...], chosen: ShortlistKind
) -> None:
    """Searching all 170 representatives misses nothing; a single point brings two labels of 150."""
    space = SearchSpace(kinds, "flat", dims=(16,), neighbours=(1,), centroid_neighbours=(170,), ms=(8,))
    choice = choose_plan(IndexBuilder(self_taught), space)
    assert choice.within_limits
    assert choice.plan.kind == chosen
    assert [plan_of(trial).kind for trial in choice.trials[2:] if trial.index == "exact"] == list(kinds)


def test_limits_that_nothing_is_within_give_the_most_accurate(self_taught: Checkpoint) -> None:
    space = SearchSpace(("points",), "flat", dims=(2, 16), neighbours=(1, 2), ms=(8,))
    choice = choose_plan(IndexBuilder(self_taught), space)
    assert not choice.within_limits
    assert choice.chosen is not None
    assert choice.trials[0].figures.metrics["P@1"] == 100
    assert choice.chosen.figures.metrics["P@1"] < 50
    assert choice.chosen.loss == min(trial.loss for trial in choice.trials[2:])
    assert choice.fresh_loss is not None
    assert choice.fresh_loss[0] > space.max_loss
    assert [trial.index for trial in choice.trials] == ["exact"] * 6 + ["flat"]


def test_a_graph_is_enough_where_it_is_as_good_as_exact_search_can_be(self_taught: Checkpoint) -> None:
    """No plan is within the limits: of each graph, only the last search loses no more than the exact one."""
    space = SearchSpace(("points",), "hnswlib", dims=(16,), neighbours=(30,), ms=(16, 32))
    choice = choose_plan(IndexBuilder(self_taught), space)
    assert not choice.within_limits
    exact, *tried = choice.trials[2:]
    for m in space.ms:
        *others, last = [trial for trial in tried for side in plan_of(trial).sides().values() if side.params.m == m]
        assert last.loss[0] <= exact.loss[0]
        assert not any(trial.loss[0] <= exact.loss[0] for trial in others)


def test_wider_limits_are_cheaper(demo_builder: IndexBuilder, choice: Choice) -> None:
    wide = choose_plan(demo_builder, replace(SMALL, max_loss=20, max_psp_loss=20))
    assert wide.chosen is not None
    assert choice.chosen is not None
    assert wide.chosen.cost_us < choice.chosen.cost_us


def test_labels_are_limited_where_that_saves_what_somebody_notices(demo_builder: IndexBuilder, choice: Choice) -> None:
    limited = choose_plan(demo_builder, replace(SMALL, max_candidates=(99, 1, 199, 30, 60)))
    assert choice.chosen is not None
    tried = limited.trials[len(choice.trials) :]
    assert [plan_of(trial).max_candidates for trial in tried] == [1, 30, 60, 99, 199][: len(tried)]
    within = [choice.chosen, *(trial for trial in tried if is_within(trial, limited))]
    assert len(within) > 2
    assert all(trial.figures.labels <= choice.chosen.figures.labels for trial in within)
    assert limited.plan == best_of_cheap(within).plan


def test_limits_that_all_cost_too_much_are_not_taken(demo_builder: IndexBuilder, choice: Choice) -> None:
    limited = choose_plan(demo_builder, replace(SMALL, max_candidates=(1, 2)))
    assert limited.plan == choice.plan
    assert [plan_of(trial).max_candidates for trial in limited.trials[-2:]] == [1, 2]


def test_a_pinned_limit_is_that_of_every_plan_but_the_references(demo_builder: IndexBuilder) -> None:
    pinned = choose_plan(demo_builder, replace(PINNED, max_candidates=(3,)))
    assert pinned.plan.max_candidates == 3
    assert [plan_of(trial).max_candidates for trial in pinned.trials[1:]] == [None] + [3] * (len(pinned.trials) - 2)
    assert all(trial.figures.labels <= 3 for trial in pinned.trials[2:])
    assert judge_int8(demo_builder, pinned.plan).figures.labels <= 3


def test_few_vectors_are_searched_by_brute_force_where_no_backend_is_named(untrained: Checkpoint) -> None:
    choice = choose_plan(IndexBuilder(untrained), replace(SMALL, backend=None))
    assert {plan.backend for plan in choice.plan.sides().values()} == {"flat"}
    # A flat index has neither links nor candidates: there is one trial for each space.
    flat = [(plan_of(trial).dim, plan_of(trial).sides()) for trial in choice.trials if trial.index == "flat"]
    assert len({(dim, *(plan.neighbours for plan in sides.values())) for dim, sides in flat}) == len(flat)


def test_more_dimensions_than_there_are_count_as_all(untrained: Checkpoint) -> None:
    choice = choose_plan(IndexBuilder(untrained), replace(SMALL, dims=(64, 999), backend="flat"))
    assert choice.plan.dim == 16
    assert IndexBuilder(untrained).build(choice.plan).projection is None


def test_a_text_does_not_find_itself(make_checkpoint: Callable[..., Checkpoint]) -> None:
    """Only votes have a share. After a refit, the nearest point of a held-out text is the text itself."""
    refitted = replace(make_checkpoint(), shares=Shares(0.6, delta=1.0), sparse=None)
    assert refitted.held_out.points.tolist() == list(range(len(refitted.held_out.bags)))
    space = SearchSpace(("points",), "flat", dims=(16,), neighbours=(1,), ms=(8,))
    found = [choose_plan(IndexBuilder(one), space).chosen for one in (refitted, refitted.before_refit())]
    figures = [trial.figures.metrics["P@1"] for trial in found if trial is not None]
    assert figures[0] > 95
    assert figures[1] < 20


def test_int8_is_judged_by_what_it_will_serve(demo_builder: IndexBuilder, choice: Choice) -> None:
    trial = judge_int8(demo_builder, choice.plan)
    assert choice.chosen is not None
    assert (trial.plan, trial.index, trial.weights) == (choice.plan, choice.chosen.index, "int8")
    assert trial.figures.labels == choice.chosen.figures.labels
    assert trial.figures.precision == pytest.approx(choice.chosen.figures.precision, abs=2)
    assert trial.search_us is not None


@pytest.mark.parametrize("backend", ["hnswlib", "hnsw-float32", "hnsw-int8"])
def test_a_plan_in_int8_is_the_same_but_for_the_vectors_of_graphs(backend: Backend) -> None:
    graph = IndexPlan(backend, HnswParams(8, 100, 30), neighbours=20)
    rounded = replace(graph, backend="hnsw-int8")
    others = [replace(graph, backend="flat"), None]
    assert ShortlistPlan(8, graph, graph).in_int8() == ShortlistPlan(8, rounded, rounded)
    for other in others:
        assert ShortlistPlan(8, other, graph).in_int8() == ShortlistPlan(8, other, rounded)


def test_centroids_alone_cast_no_votes(make_checkpoint: Callable[..., Checkpoint]) -> None:
    builder = IndexBuilder(make_checkpoint())
    with pytest.raises(ValueError, match=r"share of 0\.15 .* choose --shortlist points or union"):
        choose_plan(builder, replace(PINNED, kinds=("centroids",)))
    choice = choose_plan(builder, replace(PINNED, kinds=("centroids", "points")))
    assert {plan_of(trial).kind for trial in choice.trials[2:]} == {"points"}


def test_centroids_do_where_nobody_votes(untrained: Checkpoint) -> None:
    space = replace(SMALL, kinds=("centroids",), centroid_neighbours=(10, 150))
    choice = choose_plan(IndexBuilder(untrained), space)
    assert choice.plan.kind == "centroids"
    assert choice.chosen is not None
    assert choice.chosen.figures.precision > 0


def test_without_held_out_texts_a_choice_is_refused_with_the_remedy(untrained: Checkpoint) -> None:
    builder = IndexBuilder(without_held_out(untrained))
    for space in (
        SMALL,
        replace(PINNED, ef_search=None),
        replace(PINNED, dims=(4, 8)),
        replace(PINNED, ms=(4, 8)),
        replace(PINNED, neighbours=(4, 8)),
        replace(PINNED, kinds=("points", "union")),
        replace(PINNED, kinds=("union",)),  # there are several numbers of centroids
    ):
        with pytest.raises(ValueError, match="no held-out texts to choose how to search by: pin all of it"):
            choose_plan(builder, space)


@pytest.mark.parametrize("kind", ["points", "centroids", "union"])
def test_without_held_out_texts_the_only_plan_is_taken(untrained: Checkpoint, kind: ShortlistKind) -> None:
    builder = IndexBuilder(without_held_out(untrained))
    choice = choose_plan(builder, replace(PINNED, kinds=(kind,), centroid_neighbours=(9,)))
    assert (choice.plan.kind, choice.plan.dim, choice.chosen, choice.trials) == (kind, 8, None, [])
    assert {side: plan.neighbours for side, plan in choice.plan.sides().items()} == {
        side: neighbours for side, neighbours in (("centroids", 9), ("points", 7)) if kind in (side, "union")
    }
    assert all(plan.params.ef_search == 19 and plan.params.m == 6 for plan in choice.plan.sides().values())
    assert choice.plan.max_candidates is None
    assert choose_plan(builder, replace(PINNED, kinds=("points",), max_candidates=(9,))).plan.max_candidates == 9


def test_without_held_out_texts_int8_cannot_be_judged(untrained: Checkpoint) -> None:
    builder = IndexBuilder(without_held_out(untrained))
    with pytest.raises(ValueError, match="no held-out texts"):
        judge_int8(builder, choose_plan(builder, PINNED).plan)


def test_a_space_with_nothing_to_choose_from_is_named() -> None:
    for name in ("kinds", "dims", "neighbours", "centroid_neighbours", "ms"):
        with pytest.raises(ValueError, match=f"{name} is empty"):
            SearchSpace(**dict[str, Any]({name: ()}))


def test_a_plan_without_an_index_is_none() -> None:
    with pytest.raises(ValueError, match="needs an index over label representatives or over training points"):
        ShortlistPlan(8, None, None)
