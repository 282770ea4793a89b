"""The table in which peers are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from astec.loadtest.peers.peer_measurement import PeerResult
from astec.loadtest.peers.peer_split import metric_names

_MIB = 1 << 20


def comparison_table(results: Sequence[PeerResult]) -> Table:
    """Return a table with one row per model, the best figure of each column in bold."""
    accuracy = [_accuracy_cells(results, name) for name in metric_names()]
    costs = [[getattr(result, name) for result in results] for name in ("train_s", "query_us", "text_query_us")]
    sizes = [None if result.model_bytes is None else result.model_bytes / _MIB for result in results]
    cells = [
        *accuracy,
        _cells(costs[0], 1, min),
        _cells(sizes, 1, min),
        *(_cells(column, 0, min) for column in costs[1:]),
    ]
    table = Table(
        box=None,
        caption="P@k and PSP@k in percent, each with its standard error over the test texts. + label texts: with every "
        "label's text as one more training text. train s: from the training file to a model on disk, featurising "
        "included. query us: one query at a time on one thread, the median over the test texts; first from features, "
        "then from the text (fastText reads nothing else).",
        caption_justify="left",
    )
    table.add_column("model")
    for header in (*metric_names(), "train s", "MiB", "query us", "from text us"):
        table.add_column(header, justify="right")
    table.add_column("note", overflow="fold")
    for result, *row in zip(results, *cells, strict=True):
        table.add_row(result.name, *row, result.note)
    return table


def _accuracy_cells(results: Sequence[PeerResult], name: str) -> list[str]:
    """Return the cells of a metric, each with its standard error where that is known."""
    figures = _cells([result.metrics.get(name) for result in results], 2, max)
    errors = [result.errors.get(name) for result in results]
    return [
        figure if error is None else f"{figure} ±{error:.1f}" for figure, error in zip(figures, errors, strict=True)
    ]


def _cells(values: Sequence[float | None], decimals: int, better: Callable[[list[float]], float]) -> list[str]:
    """Round the figures of a column; the best is bold, a missing one a dash."""
    known = [round(value, decimals) for value in values if value is not None]
    best = better(known) if known else None
    cells = ["-" if value is None else f"{value:.{decimals}f}" for value in values]
    return [
        f"[bold]{cell}[/]" if value is not None and round(value, decimals) == best else cell
        for cell, value in zip(cells, values, strict=True)
    ]
