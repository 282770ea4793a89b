"""The page of a comparison: its tables in Markdown, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from pathlib import Path

from matplotlib.figure import Figure

from astec.loadtest.family.member_figures import MemberFigures
from astec.loadtest.family.members import Member
from astec.loadtest.report.markdown import front_matter, not_measured, table

_MIB = 1 << 20
_NEAR_LOG_US, _NEAR_PERCENT = 0.15, 0.5  # at this distance the names of two points would cover each other
_MARKERS = {"system": "s", "encoder": "o", "framework": "^"}
_PAIRS = (("system-deepxml-mach", "system-mach"), ("system-deepxml-xml-cnn", "system-xml-cnn"))
_HEAD = (
    *("what", "name", "P@1", "P@5", "PSP@5", "training s", "one query us", "over HTTP ms", "artifact MiB"),
    "same answers over HTTP",
)

Rows = Mapping[Member, MemberFigures]


def to_markdown(stamp: str, data: str, settings: str, rows: Rows, problems: Mapping[Member, str], picture: str) -> str:
    """Return the page of the members that were measured, and of the problems of the others.

    Args:
        stamp: UTC time of the measurement.
        data: name of the data set.
        settings: the settings of the measurement, in words.
        rows: the figures of the members.
        problems: the members that could not be measured, and why.
        picture: file name of the picture beside the page.
    """
    commits = ", ".join(dict.fromkeys(figures.commit for figures in rows.values()))
    settings_and_commits = (f"rows made by commit: {commits}", f"settings: {settings}")
    parts = [
        front_matter(f"The DeepXML family on {data},", stamp, settings_and_commits),
        table(_HEAD, (_cells(member, figures) for member, figures in rows.items())),
        "Training from the command to its end. One query: p50 in process, text in, top 5 out, one thread; over HTTP: "
        "p50 of one connection, one worker, the generator on the same CPUs.",
        f"![accuracy over latency]({picture})",
        _gains(rows),
    ]
    if problems:
        parts.append(not_measured(f"{member.key}: {why}" for member, why in problems.items()))
    return "\n\n".join(filter(None, parts)) + "\n"


def draw(rows: Rows, path: Path) -> None:
    """Write a PNG of P@1 against the time of one query.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    for kind, marker in _MARKERS.items():
        those = {member: figures for member, figures in rows.items() if member.kind == kind}
        if those:
            microseconds = [figures.single_us for figures in those.values()]
            axes.scatter(microseconds, [one.precision["P@1"] for one in those.values()], marker=marker, label=kind)
    for names, point in named_points(rows):
        axes.annotate(", ".join(names), point, xytext=(4, 4), textcoords="offset points", fontsize=8, rotation=12)
    axes.margins(x=0.12, y=0.15)
    axes.set(xlabel="one query in process, p50 [us]", ylabel="P@1 [%]", xscale="log")
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def named_points(rows: Rows) -> list[tuple[list[str], tuple[float, float]]]:
    """Return the names to write beside the points; points too near for two names share one list of names."""
    named: list[tuple[list[str], tuple[float, float]]] = []
    for member, figures in rows.items():
        x, y = figures.single_us, figures.precision["P@1"]
        for names, (near_x, near_y) in named:
            if abs(log(x / near_x)) < _NEAR_LOG_US and abs(y - near_y) < _NEAR_PERCENT:
                names.append(member.name)
                break
        else:
            named.append(([member.name], (x, y)))
    return named


def _cells(member: Member, figures: MemberFigures) -> list[str]:
    return [
        member.kind,
        f"`{member.name}`",
        *(f"{value:.2f}" for value in figures.precision.values()),
        f"{figures.train_s:.0f}",
        f"{figures.single_us:.0f}",
        f"{figures.http_ms:.2f}",
        f"{figures.artifact_bytes / _MIB:.1f}",
        str(figures.answers),
    ]


def _gains(rows: Rows) -> str:
    """Return the table of what DeepXML changes in the accuracy and training time of a system (the paper's Table 4)."""
    by_key = {member.key: (member.name, figures) for member, figures in rows.items()}
    lines = []
    for within, alone in _PAIRS:
        if within in by_key and alone in by_key:
            (name, ours), (other, theirs) = by_key[within], by_key[alone]
            change = ours.precision["P@1"] - theirs.precision["P@1"]
            times = f"{theirs.train_s / ours.train_s:.2f}"
            lines.append([f"`{name}` against `{other}`", f"{change:+.2f}", f"{theirs.train_s:.0f}", times])
    if not lines:
        return ""
    head = ["", "change of P@1", "training alone s", "of it, times as long as under DeepXML"]
    return "## What DeepXML changes of a system (Table 4 of the paper)\n\n" + table(head, lines)
