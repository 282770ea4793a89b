"""The page of the comparison with serving frameworks: tables in Markdown, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from astec.loadtest.bench.results import OURS
from astec.loadtest.bench.results_page import LOAD_HEAD, load_cells, rate_ratio
from astec.loadtest.peers.peer_measurement import PeerResult
from astec.loadtest.report.markdown import table
from astec.loadtest.rivals.comparison import LOADS, Contender

_NOTES = (
    "Every server answers the same queries with the same model, opened by `astec.load` in as many processes. Its HTTP "
    "processes, proxies and routers come on top where a framework has them. Only one server runs at a time, and all "
    "share the CPUs with the load generator. `batches` rows use the framework's own batching, of at most 32 queries. "
    "`same answers`: of the queries asked 32 at a time, those with the labels and scores of `astec`."
)


def to_markdown(contenders: Sequence[Contender], in_process: Sequence[PeerResult], picture: str | None) -> str:
    """Return the tables of the servers by number of connections, then the table of tools in process, if any."""
    parts = [_load_table(contenders, connections) for connections in LOADS]
    parts.append(_NOTES)
    if picture is not None:
        parts.append(f"![rivals]({picture})")
    if in_process:
        parts.append(_in_process_table(in_process))
    return "\n\n".join(parts) + "\n"


def draw(contenders: Sequence[Contender], path: Path) -> None:
    """Write a PNG of the throughput and the p99 of each server, with the first number of connections.

    Raises:
        OSError: the file cannot be written.
    """
    loads = {contender.name: contender.median(LOADS[0]) for contender in contenders}
    reports = {name: load.report for name, load in reversed(loads.items()) if load is not None}
    figure = Figure(figsize=(10, 1.5 + 0.35 * len(reports)), layout="constrained")
    throughput, latency = figure.subplots(1, 2, sharey=True)
    throughput.barh(list(reports), [report.achieved_rate for report in reports.values()])
    throughput.set(xlabel=f"answers per second, {LOADS[0]} connections")
    p99_ms = [report.latency_ms["p99"] for report in reports.values()]
    # Points, not bars: the length of a bar means nothing on a logarithmic scale.
    latency.plot([float("nan") if value is None else value for value in p99_ms], list(reports), "oC1")
    latency.set(xlabel="p99 [ms]", xscale="log")
    latency.grid(axis="y", linestyle=":")
    figure.savefig(path, format="png", dpi=120)


def _load_table(contenders: Sequence[Contender], connections: int) -> str:
    ours = next((contender.median(connections) for contender in contenders if contender.name == OURS), None)
    ours_per_s = None if ours is None else ours.report.achieved_rate
    head = [f"{connections} connection{'s' if connections > 1 else ''}", *LOAD_HEAD, f"{OURS} is"]
    first = connections == LOADS[0]
    rows = [_row(contender, connections, ours_per_s, first) for contender in contenders]
    return table([*head, *(("same answers", "note") if first else ())], rows)


def _row(contender: Contender, connections: int, ours_per_s: float | None, with_notes: bool) -> list[str]:
    load = contender.median(connections)
    cells = ["-"] * (len(LOAD_HEAD) + 1)
    if load is not None:
        cells = [*load_cells(load), rate_ratio(ours_per_s, load.report)]
    notes = (_same_answers(contender), contender.note.replace("|", "/")) if with_notes else ()
    return [contender.name, *cells, *notes]


def _same_answers(contender: Contender) -> str:
    if contender.same is None:
        return "-"
    same, answered, asked = contender.same
    return f"{same:,} of {answered:,}" + (f", {asked - answered:,} not answered" if asked > answered else "")


def _in_process_table(results: Sequence[PeerResult]) -> str:
    rows = [
        [
            result.name,
            *(f"{result.metrics[name]:.2f}" if name in result.metrics else "-" for name in ("P@1", "P@5")),
            "-" if result.text_query_us is None else f"{result.text_query_us:.0f}",
            result.note.replace("|", "/"),
        ]
        for result in results
    ]
    head = ["in process, one thread", "P@1", "P@5", "one query from text, p50 us", "note"]
    return "## Label retrieval in process\n\n" + table(head, rows)
