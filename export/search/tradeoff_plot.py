"""The plot of the trials of a choice of a plan: accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from astec.export.search.trial import Trial


def draw_tradeoff(trials: Sequence[Trial], chosen: Trial, path: Path) -> None:
    """Write a PNG of the mean P@k and PSP@k of each trial against the cost of a query; the chosen one has a ring.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = dict(zip(("P@k", "PSP@k"), figure.subplots(1, 2), strict=True))
    everything, tried = trials[0], trials[1:]
    for name, panel in panels.items():
        values = [_mean(trial, name) for trial in tried]
        for kind in sorted({_series(trial) for trial in tried}):
            at = [i for i, trial in enumerate(tried) if _series(trial) == kind]
            panel.scatter([tried[i].cost_us for i in at], [values[i] for i in at], s=18, label=kind)
        panel.scatter([chosen.cost_us], [_mean(chosen, name)], s=160, facecolors="none", edgecolors="black")
        panel.axhline(_mean(everything, name), linestyle=":", color="grey", label="every label scored")
        panel.set(xscale="log", xlabel="cost of a query [us, by count of operations]", ylabel=f"mean {name} at 1, 3, 5")
        panel.legend(fontsize=8)
    figure.suptitle("How to search: held-out texts; the chosen way is ringed")
    figure.savefig(path, format="png", dpi=120)


def _mean(trial: Trial, name: str) -> float:
    return trial.figures.precision if name == "P@k" else trial.figures.propensity_scored


def _series(trial: Trial) -> str:
    if trial.plan is None:
        return "every label"
    weights = "" if trial.weights == "float32" else f", {trial.weights}"
    return f"{trial.plan.kind}, {trial.plan.dim} dims, {trial.index}{weights}"
