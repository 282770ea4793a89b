"""Progress bars on stderr, shown only on a terminal and removed when done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
Advance = Callable[[int], None]

console = Console(stderr=True)
"""The console for all messages to people, on stderr; stdout is for results only."""


def track(iterable: Iterable[T], description: str, total: int | None = None, *, shown: bool = True) -> Iterator[T]:
    """Yield the items of `iterable` behind a progress bar.

    Args:
        iterable: the items; its length is the total where it has one.
        description: the text beside the bar.
        total: number of items, for iterables without a length.
        shown: whether there is a bar.
    """
    if not shown:
        yield from iterable
        return
    with _progress(MofNCompleteColumn(), shown=True) as progress:
        yield from progress.track(iterable, total=total, description=description)


@contextmanager
def byte_progress(description: str, total_bytes: int, *, shown: bool = True) -> Iterator[Advance]:
    """Show progress by bytes; the context's value is called with the number of bytes just read."""
    with _progress(DownloadColumn(), shown=shown) as progress:
        task = progress.add_task(description, total=total_bytes)
        yield lambda num_bytes: progress.advance(task, num_bytes)


@contextmanager
def step_progress(stage: str, total_steps: int, done_steps: int = 0) -> Iterator[Callable[[str], None]]:
    """Show progress by steps; the context's value is called after each step with the text to show beside the stage."""
    with _progress(MofNCompleteColumn(), shown=True) as progress:
        task = progress.add_task(stage, total=total_steps, completed=done_steps)
        yield lambda status: progress.update(task, advance=1, description=f"{stage} {status}")


def _progress(amount: ProgressColumn, *, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),  # a file may be called [red].tsv
        BarColumn(),
        amount,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
