"""The page of results of a benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from astec.export.artifact.manifest import Manifest
from astec.loadtest.bench.bulk import Bulk
from astec.loadtest.bench.growth import GrowthRow
from astec.loadtest.bench.in_process import BATCH_SIZES, PERCENTILES, InProcess
from astec.loadtest.bench.over_http import CONNECTIONS, Load, knee
from astec.loadtest.bench.results import ECHO, HALF_ECHO, OURS, Results
from astec.loadtest.bench.sharing import Sharing
from astec.loadtest.bench.targets import Target, check_targets
from astec.loadtest.report.machine import describe_machine
from astec.loadtest.report.machine_speed import MachineSpeed
from astec.loadtest.report.markdown import front_matter, not_measured, table
from astec.loadtest.report.report import Report
from astec.loadtest.report.slowest import OUTSIDE, latency_parts, parts_table

_ACCURACY = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5")
_SHORT_ACCURACY = ("P@1", "P@5")
LOAD_HEAD: Final = ("answers/s", "p50 ms", "p99 ms", "p99.9 ms", "errors", "generator CPU")
"""Names of the columns of a load."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting of a run: its time, the model, the data and the options."""

    stamp: str
    manifest: Manifest
    test_data: str
    options: dict[str, str]


def results_markdown(setting: Setting, results: Results, plots: dict[str, str]) -> str:
    """Return the page with a section for each part that was measured; `plots` are file names by section."""
    return "\n\n".join([_heading(setting, results.speed), *_sections(results, plots)]) + "\n"


def _heading(setting: Setting, speed: MachineSpeed | None) -> str:
    sizes, model = setting.manifest.dimensions, setting.manifest.model
    options = ", ".join(f"{name} {value}" for name, value in setting.options.items())
    settings = (
        f"model: {model.name} {model.version}: {sizes.num_labels:,} labels, {sizes.num_points:,} training points, "
        f"{sizes.num_features:,} tokens, D = {sizes.dim}, {setting.manifest.weights} weights",
        f"shortlist: {_describe_search(setting.manifest)}",
        f"queries: the texts of {setting.test_data}, all as popular; no cache unless the row says so",
        f"settings: {options}",
    )
    machine = describe_machine() + ("" if speed is None else speed.describe())
    return front_matter("Benchmark of", setting.stamp, settings, machine)


def _describe_search(manifest: Manifest) -> str:
    """Name the indices of an artifact and how they are searched."""
    sides = {"points": manifest.points, "centroids": manifest.centroids}
    indices = [
        f"{side.neighbours} nearest {name} by {side.backend}"
        + ("" if side.backend == "flat" else f" (m {side.graph.m}, ef {side.graph.ef_search})")
        for name, side in sides.items()
        if side is not None
    ]
    limit = "" if manifest.max_candidates is None else f", at most {manifest.max_candidates} labels scored"
    return f"{' and '.join(indices)} in {manifest.dimensions.shortlist_dim} dimensions{limit}"


def _sections(results: Results, plots: dict[str, str]) -> Iterable[str]:
    yield _targets(check_targets(results))
    if results.accuracy or results.exact_accuracy:
        yield _accuracy(results)
    if results.in_process is not None:
        yield _in_process(results.in_process)
    if results.peers:
        yield _peers(results)
    if results.saturated:
        yield _throughput(results)
    if results.half:
        yield _half(results) + _picture(plots, "half")
    if results.curve:
        yield _curve(results.curve) + _picture(plots, "curve")
    if results.growth:
        yield _growth(results.growth) + _picture(plots, "growth")
    if results.sharing is not None:
        yield _sharing(results.sharing)
    if results.bulk is not None:
        yield _bulk(results.bulk)
    if results.problems:
        yield not_measured(results.problems)


def _targets(targets: Sequence[Target]) -> str:
    verdicts = {True: "yes", False: "**no**", None: "-"}
    rows = [[target.asked, target.seen, verdicts[target.holds]] for target in targets]
    return "## Targets\n\n" + table(["asked", "seen", "holds"], rows)


def _accuracy(results: Results) -> str:
    columns = {"as timed": results.accuracy, "exact neighbours, every label scored": results.exact_accuracy}
    columns = {name: column for name, column in columns.items() if column}
    rows = [[name, *(f"{column[name]:.2f}" for column in columns.values())] for name in _ACCURACY]
    return "## Accuracy\n\n" + table(["figure", *columns], rows)


def _in_process(figures: InProcess) -> str:
    rows = [["one query", *_rounded(figures.single_us)]]
    rows += [[f"of it {name}", *_rounded(values)] for name, values in figures.stages_us.items()]
    head = ["text in, top 5 out, one thread", *(f"p{percentile} us" for percentile in PERCENTILES)]
    batches = [[str(size), f"{value:.0f}"] for size, value in figures.batch_us.items()]
    return f"## In process\n\n{table(head, rows)}\n\n{table(['batch size', 'us per query'], batches)}"


def _peers(results: Results) -> str:
    rows = [
        [
            peer.name,
            *_precision(results, peer.name),
            "-" if peer.text_query_us is None else f"{peer.text_query_us:.0f}",
            peer.note,
        ]
        for peer in results.peers
    ]
    if results.in_process is not None:
        rows.insert(0, [OURS, *_precision(results, OURS), f"{results.in_process.p50_us:.0f}", "as above"])
    return (
        "## Peers in process\n\n"
        + table(["model", *_SHORT_ACCURACY, "one query from text, p50 us", "note"], rows)
        + "\n\nOne query at a time on one thread. `pecos-text` featurises with its own library; omikuji has no "
        "featurizer and gets ours, whose time counts."
    )


def _throughput(results: Results) -> str:
    ours = results.saturated[OURS].report.achieved_rate if OURS in results.saturated else None
    rows = [
        [name, *_precision(results, name), *load_cells(one), rate_ratio(ours, one.report)]
        for name, one in results.saturated.items()
    ]
    if results.cached is not None:
        cells = [*_precision(results, OURS), *load_cells(results.cached)]
        rows.append([f"{OURS} with a cache, Zipfian queries", *cells, "-"])
    alone = [[name, *load_cells(one)] for name, one in results.alone.items()]
    return (
        f"## Over HTTP, one query a request\n\n### {CONNECTIONS} connections\n\n"
        + table(["closed loop", *_SHORT_ACCURACY, *LOAD_HEAD, f"{OURS} is"], rows)
        + f"\n\n`{ECHO}` is a raw route that answers a constant of the same size, on the same stack with as many "
        "workers; the peers are behind such a route.\n\n### One connection\n\n"
        + table(["closed loop", *LOAD_HEAD], alone)
    )


def _precision(results: Results, name: str) -> list[str]:
    metrics: Mapping[str, float] = results.accuracy if name == OURS else {}
    metrics = next((peer.metrics for peer in results.peers if peer.name == name), metrics)
    return [f"{metrics[figure]:.2f}" if figure in metrics else "-" for figure in _SHORT_ACCURACY]


def _half(results: Results) -> str:
    head = ["open loop at half of", "asked", *LOAD_HEAD]
    rows = [
        [of, f"{half.report.asked_rate:.0f}/s for {half.report.duration_s:.0f} s", *load_cells(half)]
        for of, half in results.half.items()
    ]
    note = ""
    if results.overload is not None:
        overload = results.overload.report
        note = (
            f"\n\nAn open loop that asked for {overload.asked_rate:.0f}/s, the closed loop's rate, got "
            f"{overload.achieved_rate:.0f}/s: that is its saturation."
        )
    slowest = "".join(_slowest(of, half) for of, half in results.half.items() if of != HALF_ECHO)
    return f"## At half of saturation\n\n{table(head, rows)}{note}{slowest}"


def _slowest(of: str, half: Load) -> str:
    """Return the section on the slowest requests of an open loop; empty where it was too short to tell."""
    parts = latency_parts(half.measured.sampled)
    if not parts:
        return ""
    return (
        f"\n\n### The slowest 1% at half of {of}\n\n{parts_table(parts)}\n\nMeans over an even sample of "
        f"{len(half.measured.sampled.latency_s):,} requests. `queue` waits for a thread that computes, the next parts "
        f"are those of the whole batch; `{OUTSIDE}` is HTTP on both sides, sockets, and waiting for a CPU."
    )


def _curve(curve: Sequence[Report]) -> str:
    rows = [
        [
            f"{report.asked_rate:.0f}",
            f"{report.achieved_share:.1%}",
            *_latencies(report),
            str(sum(report.errors.values())),
        ]
        for report in curve
    ]
    at = knee(curve)
    knee_text = "below the lowest rate" if at is None else f"{at.asked_rate:.0f}/s"
    return (
        "## Latency against rate\n\n"
        + table(["asked /s", "achieved", "p50 ms", "p99 ms", "p99.9 ms", "errors"], rows)
        + f"\n\nKnee: {knee_text}, the highest rate that is kept with a p99 of at most three times that of the lowest."
    )


def _growth(rows: Sequence[GrowthRow]) -> str:
    smallest = rows[0].in_process.p50_us
    stages = list(rows[0].in_process.stages_us)
    cells = [
        [
            f"{row.num_labels:,}",
            f"{row.artifact_bytes / _MIB:.0f}",
            *_rounded(row.in_process.single_us),
            f"{row.in_process.p50_us / smallest:.2f}",
            *(f"{row.in_process.stages_us[stage][0]:.0f}" for stage in stages),
        ]
        for row in rows
    ]
    head = ["labels", "MiB", *(f"p{percentile} us" for percentile in PERCENTILES), "times the first", *stages]
    return "## Growth, on synthetic artifacts with as many training points\n\n" + table(head, cells)


def _sharing(sharing: Sharing) -> str:
    size = sharing.artifact_bytes
    rows = [
        [
            str(number),
            *(f"{value / _MIB:.0f}" for value in (worker.rss_bytes, worker.pss_bytes, worker.private_bytes)),
            f"{worker.private_bytes / size:.1%}",
        ]
        for number, worker in enumerate(sharing.workers)
    ]
    starts = ", ".join(f"{seconds:.1f} s with {how} verified" for how, seconds in sharing.start_s.items())
    return (
        f"## {len(sharing.workers)} workers on an artifact of {size / _MIB:.0f} MiB\n\n"
        + table(["worker", "RSS MiB", "PSS MiB", "private MiB", "private over artifact"], rows)
        + f"\n\nReady after {starts}."
    )


def _bulk(bulk: Bulk) -> str:
    in_process = 1e6 * bulk.workers / bulk.batch_us
    rates = [
        [f"`astec-predict --workers {bulk.workers}`", f"{bulk.rate:.0f}", f"{bulk.share:.1%}"],
        [f"{bulk.workers} threads in process, batches of {BATCH_SIZES[-1]}", f"{in_process:.0f}", "100%"],
    ]
    thirds = [f"allocated by all processes, peak MiB of the {part} third" for part in ("first", "second", "last")]
    memory = [[f"{peak / _MIB:.1f}" for peak in bulk.peaks_bytes]]
    same = "the same bytes" if bulk.is_same else "**other bytes**"
    return (
        f"## Bulk: {bulk.num_queries:,} queries, the texts above again and again\n\n"
        + table(["text in, top 5 out", "queries/s", "of in process"], rates)
        + f"\n\nOne thread is measured ({bulk.batch_us:.1f} us a query) and multiplied; it writes nothing. The command "
        f"opened and verified the model in {bulk.start_s:.1f} s, which do not count, then read a file of texts and "
        f"wrote JSON Lines for {bulk.scoring_s:.1f} s.\n\n"
        + table(thirds, memory)
        + f"\n\nKilled when the answers to {bulk.resumed_after:,} queries were on the disk, and run again: {same}."
    )


def load_cells(one: Load) -> list[str]:
    """Return the cells of a load under `LOAD_HEAD`."""
    report = one.report
    errors = str(sum(report.errors.values()))
    return [f"{report.achieved_rate:.0f}", *_latencies(report), errors, f"{report.generator_cpu:.2f}"]


def _latencies(report: Report) -> list[str]:
    values = (report.latency_ms[name] for name in ("p50", "p99", "p99.9"))
    return ["-" if value is None else f"{value:.2f}" for value in values]


def rate_ratio(ours: float | None, report: Report) -> str:
    """Return our rate as a multiple of that of a report; a dash where one of them is not known."""
    return "-" if ours is None or not report.achieved_rate else f"{ours / report.achieved_rate:.2f} x"


def _rounded(values: Iterable[float]) -> list[str]:
    return [f"{value:.0f}" for value in values]


def _picture(plots: dict[str, str], section: str) -> str:
    return f"\n\n![{section}]({plots[section]})" if section in plots else ""
