"""Markdown of the pages of results: headings, tables and lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from astec.loadtest.report.machine import describe_machine


def front_matter(title: str, stamp: str, settings: Iterable[str], machine: str | None = None) -> str:
    """Return the title with the time of the measurement, then a list of the machine and the settings.

    Args:
        title: the words before the time.
        stamp: UTC time of the measurement.
        settings: further items of the list.
        machine: the first items of the list, a line each; None: those of `describe_machine`.
    """
    items = "\n".join(f"- {setting}" for setting in settings)
    return f"# {title} {stamp} UTC\n\n{machine or describe_machine()}{items}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with the column names in `head`."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])


def not_measured(problems: Iterable[str]) -> str:
    """Return the section that lists what could not be measured, and why."""
    return "## Not measured\n\n" + "\n".join(f"- {problem}" for problem in problems)
