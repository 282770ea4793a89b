"""The charts of a report: SVG elements in the colours of the page.

Matplotlib does not support CSS variables. So charts are drawn in placeholder colours, which are then replaced by the
page's CSS variables: the same chart is readable on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from astec.export.calibration.fit import CalibrationFit
from astec.trainer.report.quantiles import Quantile
from astec.trainer.run.history import Line

_TEXT, _FAINT = "#010203", "#040506"
_SERIES = ("#070809", "#0a0b0c", "#0d0e0f")
_VARIABLES = {_TEXT: "--text", _FAINT: "--line"} | {colour: f"--series-{i}" for i, colour in enumerate(_SERIES, 1)}
_STYLE: Any = {  # the type that matplotlib declares lists every key that exists
    "svg.hashsalt": "astec",  # the same chart gives the same bytes
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "text.color": _TEXT,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _TEXT,
    "axes.titlesize": 10,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "legend.frameon": False,
    "lines.markersize": 4,
    "figure.facecolor": "none",
}
_styled = matplotlib.rc_context(_STYLE)
_HEIGHT_IN = 2.9
_WIDTH_IN = 8.0
_UNSHADED = 0.15  # share of the trials below the colours' range, so that the worst do not use up most of the colours


@_styled
def draw_epochs(epochs: Sequence[Line]) -> str:
    """Draw the loss over the epochs and, where it was measured, P@k on held-out texts."""
    curves = [f"P@{k}" for k in (1, 3, 5) if any(f"P@{k}" in line for line in epochs)]
    figure, axes = _figure(2 if curves else 1)
    _draw_lines(axes[0], epochs, "epoch", ["loss"])
    axes[0].set(title="training loss", xlabel="epoch")
    if curves:
        _draw_lines(axes[1], epochs, "epoch", curves)
        axes[1].set(title="held-out precision [%]", xlabel="epoch")
        axes[1].legend()
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure)


@_styled
def draw_quantiles(quantiles: Sequence[Quantile]) -> str:
    """Draw the contributions to P@5 and PSP@5 and the recall, from head to tail labels."""
    names = [f"{i}\n({quantile.mean_count:,.0f})" for i, quantile in enumerate(quantiles, 1)]
    panels = {
        "contribution to P@5 [%]": [quantile.precision for quantile in quantiles],
        "contribution to PSP@5 [%]": [quantile.psp for quantile in quantiles],
        "found among the best 5 [%]": [quantile.recall for quantile in quantiles],
    }
    figure, axes = _figure(len(panels))
    for axis, colour, (title, heights) in zip(axes, _SERIES, panels.items(), strict=True):
        bars = axis.bar(names, heights, color=colour, width=0.7)
        axis.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        axis.set(title=title)
        axis.margins(y=0.12)
        axis.grid(visible=False, axis="x")
    figure.supxlabel("frequency quantile, head to tail (training texts of a label)", fontsize=9)
    return _svg(figure)


@_styled
def draw_recall(recall: Mapping[int, float]) -> str:
    """Draw the shortlist recall against the length at which shortlists are cut."""
    figure, (axis,) = _figure(1)
    axis.plot(list(recall), list(recall.values()), marker="o", color=_SERIES[0])
    for k, percent in recall.items():
        axis.annotate(f"{percent:.1f}", (k, percent), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    axis.set(xlabel="k most similar candidates", ylabel="recall [%]", ylim=(0, 109))
    axis.set_xscale("log")
    axis.set_xticks(list(recall), [f"{k:,}" for k in recall])
    axis.minorticks_off()
    return _svg(figure)


@_styled
def draw_share(trials: Sequence[Line], share: str, chosen: float) -> str:
    """Draw the held-out figures against the one share of which several values were tried."""
    panels = [[f"{metric}@{k}" for k in (1, 3, 5)] for metric in ("P", "PSP")]
    figure, axes = _figure(len(panels))
    for axis, curves in zip(axes, panels, strict=True):
        _draw_lines(axis, sorted(trials, key=lambda trial: trial[share]), share, curves)
        axis.axvline(chosen, color=_TEXT, linestyle=":", label="chosen")
        axis.set(xlabel=share, ylabel="percent")
        axis.legend()
    return _svg(figure)


@_styled
def draw_shares(trials: Sequence[Line], pair: tuple[str, str], chosen: tuple[float, float]) -> str:
    """Draw the mean of P@1, P@3 and P@5 for two shares, at the best values of the others; the chosen pair is framed."""
    xs, ys = (sorted({trial[share] for trial in trials}) for share in pair)
    best_YX = _best_by_pair(trials, pair, xs, ys)
    lowest = np.nanquantile(best_YX, _UNSHADED)
    figure = Figure(figsize=(_WIDTH_IN, 1.0 + 0.28 * len(ys)), layout="constrained")
    axis = figure.subplots()
    mesh = axis.pcolormesh(best_YX, cmap="viridis", vmin=lowest)
    axis.grid(visible=False)
    axis.set_xticks(np.arange(len(xs)) + 0.5, [f"{x:g}" for x in xs])
    axis.set_yticks(np.arange(len(ys)) + 0.5, [f"{y:g}" for y in ys])
    axis.set(xlabel=pair[0], ylabel=pair[1])
    _write_cells(axis, best_YX, (lowest + np.nanmax(best_YX)) / 2)
    if chosen[0] in xs and chosen[1] in ys:
        corner = (xs.index(chosen[0]), ys.index(chosen[1]))
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d1242f", linewidth=2))
    figure.colorbar(mesh, extend="min", label="mean of P@1, P@3, P@5 [%]")
    return _svg(figure)


@_styled
def draw_reliability(fit: CalibrationFit) -> str:
    """Draw how often labels are right, by score (with the map to probabilities) and by probability."""
    figure, (by_score, by_probability) = _figure(2)
    for axis, colour, reliability in (
        (by_score, _SERIES[0], fit.scores),
        (by_probability, _SERIES[1], fit.probabilities),
    ):
        axis.plot([0, 1], [0, 1], color=_TEXT, linestyle=":", linewidth=1)
        said = [part.probability for part in reliability.bins]
        axis.plot(said, [part.frequency for part in reliability.bins], "o", color=colour)
        axis.set(xlim=(0, 1), ylim=(0, 1))
    by_score.plot(fit.calibration.scores, fit.calibration.probabilities, color=_SERIES[1], label="probability")
    by_score.legend()
    by_score.set(title="part that is right", xlabel="score")
    by_probability.set(title="part that is right", xlabel="probability")
    return _svg(figure)


@_styled
def draw_stages(seconds: Mapping[str, float]) -> str:
    """Draw the time of each stage, in order."""
    figure = Figure(figsize=(_WIDTH_IN, 0.8 + 0.3 * len(seconds)), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh(list(seconds), list(seconds.values()), color=_SERIES[0], height=0.65)
    axis.bar_label(bars, fmt=_duration, padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.grid(visible=False, axis="y")
    axis.set(xlabel="seconds")
    return _svg(figure)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _draw_lines(axis: Axes, lines: Sequence[Line], x: str, names: Sequence[str]) -> None:
    for name, colour in zip(names, cycle(_SERIES), strict=False):
        measured = [line for line in lines if name in line]
        marker = "o" if len(measured) < 40 else ""
        points = ([line[x] for line in measured], [line[name] for line in measured])
        axis.plot(*points, marker=marker, color=colour, label=name)


def _best_by_pair(
    trials: Sequence[Line], pair: tuple[str, str], xs: Sequence[float], ys: Sequence[float]
) -> NDArray[np.float64]:
    best_YX = np.full((len(ys), len(xs)), np.nan)
    for trial in trials:
        cell = ys.index(trial[pair[1]]), xs.index(trial[pair[0]])
        best_YX[cell] = np.fmax(best_YX[cell], np.mean([trial[f"P@{k}"] for k in (1, 3, 5)]))
    return best_YX


def _write_cells(axis: Axes, values_YX: NDArray[np.float64], middle: float) -> None:
    for (y, x), value in np.ndenumerate(values_YX):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axis.text(x + 0.5, y + 0.5, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=7)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element without date or names, with the page's variables as colours."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = stream.getvalue()
    svg = re.sub(r' id="[a-z]+[a-z.\d]*_\d+"', "", svg[svg.index("<svg") :])  # the same in every figure of a page
    return re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found.group()]})", svg)
