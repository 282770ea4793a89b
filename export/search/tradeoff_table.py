"""The trials of a choice of a plan, as tables for a terminal and for the model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from astec.export.search.trial import NUM_REFERENCES, Trial

_METRICS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5")
_COLUMNS = (
    "shortlist",
    "dim",
    "neighbours",
    "index",
    "m",
    "ef",
    "most labels",
    "labels",
    *_METRICS,
    "loss",
    "PSP loss",
)


class _WholeTable(Table):
    """A table that is never cut to the width of the terminal: a narrower terminal wraps its lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return super().__rich_console__(console, options.update(max_width=_MAX_CHARS))


def tradeoff_table(trials: Sequence[Trial], chosen: Trial, fresh_loss: tuple[float, float]) -> Table:
    """Return a table with one row per trial, without exact trials that another one beats; the chosen one is marked.

    Args:
        trials: all trials, in order.
        chosen: that of the chosen plan.
        fresh_loss: the losses of P@k and of PSP@k on texts that did not choose the plan.
    """
    caption = f"{_CAPTION} {tell_fresh_loss(fresh_loss)}"
    table = _WholeTable(*_COLUMNS, "cost us", "search us", box=None, caption=caption, caption_justify="left")
    for trial in _worth_showing(trials):
        search = "" if trial.search_us is None else f"{trial.search_us:.0f}"
        style = "bold green" if trial is chosen else None
        table.add_row(*_cells(trial), f"{trial.cost_us:.0f}", search, style=style)
    return table


def tell_fresh_loss(fresh_loss: tuple[float, float]) -> str:
    """Return a sentence about the losses of P@k and of PSP@k on texts that did not choose the plan."""
    precision, propensity_scored = fresh_loss
    return (
        f"On texts that did not choose it, the chosen way is expected to lose {precision:.2f} points of P@k and "
        f"{propensity_scored:.2f} of PSP@k."
    )


def tradeoff_markdown(trials: Sequence[Trial]) -> str:
    """Return the table for the model card, without measured times, so that equal models have equal cards."""
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *(tuple(_cells(trial)) for trial in _worth_showing(trials))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_MAX_CHARS = 500
_CAPTION = (
    "On held-out texts, in percent. labels: scored per text; most labels: of one. loss: of P@k, PSP loss: of PSP@k, in "
    "points, by the probabilities that labels are right. cost: of searching and scoring, by a count of operations. "
    "Losses and cost decide. search: one query, measured."
)


def _worth_showing(trials: Sequence[Trial]) -> Iterator[Trial]:
    """Yield all trials but the exact ones that another exact trial beats in accuracy at no higher cost."""
    yield from trials[:NUM_REFERENCES]
    exact = [trial for trial in trials[NUM_REFERENCES:] if trial.index == "exact"]
    for trial in trials[NUM_REFERENCES:]:
        if trial.index != "exact" or not any(_beats(other, trial) for other in exact):
            yield trial


def _beats(one: Trial, other: Trial) -> bool:
    costs = one.cost_us, other.cost_us
    precision = one.figures.precision, other.figures.precision
    propensity_scored = one.figures.propensity_scored, other.figures.propensity_scored
    no_worse = costs[0] <= costs[1] and precision[0] >= precision[1] and propensity_scored[0] >= propensity_scored[1]
    return no_worse and (costs[0] < costs[1] or precision[0] > precision[1])


def _cells(trial: Trial) -> Iterator[str]:
    sides = {} if trial.plan is None else trial.plan.sides()
    graphs = [side.params for side in sides.values() if trial.index != "exact" and side.backend != "flat"]
    yield "all labels" if trial.plan is None else trial.plan.kind
    yield "all" if trial.plan is None else str(trial.plan.dim)
    yield " + ".join(str(side.neighbours) for side in sides.values())
    yield trial.index if trial.weights == "float32" else f"{trial.index}, {trial.weights}"
    yield " + ".join(str(params.m) for params in graphs)
    yield " + ".join(str(params.ef_search) for params in graphs)
    yield "" if trial.plan is None or trial.plan.max_candidates is None else str(trial.plan.max_candidates)
    yield f"{trial.figures.labels:.0f}"
    for name in _METRICS:
        yield f"{trial.figures.metrics[name]:.2f}"
    for loss in trial.loss:
        yield "" if isnan(loss) else f"{loss:.2f}"
