"""The page about a model in shards, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from astec.loadtest.report.markdown import front_matter, table
from astec.loadtest.scale.model_line import describe_model
from astec.loadtest.scale.rounds import growth, over_rounds
from astec.loadtest.scale.shards import ShardFigures

_MIB = 1 << 20
_PROMISES = {
    "fail": "status 503, and a message that names the shard's address",
    "partial": 'labels of the other shards, `"partial": true`, and the address under `missing`',
}


def shards_markdown(stamp: str, settings: Sequence[str], figures: ShardFigures) -> str:
    """Return the page."""
    whole = figures.whole.manifest
    model = f"{whole.dimensions.num_labels:,} labels: {describe_model(whole)}"
    sections = [
        front_matter("Shards,", stamp, [*settings, model]),
        _answer_table(figures),
        _time_table(figures),
        _size_table(figures),
        _loss_table(figures),
    ]
    return "\n\n".join(sections) + "\n"


def _ways(figures: ShardFigures) -> list[str]:
    return ["one artifact", f"client of {len(figures.shards)} shards", "`astec-serve --upstream`"]


def _answer_table(figures: ShardFigures) -> str:
    agreements = figures.agreements
    rows = [
        ["queries", *(f"{each.queries:,}" for each in agreements)],
        ["same labels in the same order", *(f"{each.same_rankings:,}" for each in agreements)],
        ["same first label", *(f"{each.same_first:,}" for each in agreements)],
        ["labels of an answer that both have, mean", *(f"{100 * each.overlap:.2f}%" for each in agreements)],
        ["largest difference of a score", *(f"{each.score_difference:.1e}" for each in agreements)],
    ]
    return "## Answers, against those of one artifact\n\n" + table(["", *_ways(figures)[1:]], rows)


def _time_table(figures: ShardFigures) -> str:
    first = figures.rounds_us[0]
    rows = [
        [
            way,
            *(f"{over_rounds(times_us, percentile) / 1e3:.2f}" for percentile in (50, 99)),
            *(f"{growth(first, times_us, percentile):.2f}" for percentile in (50, 99)),
        ]
        for way, times_us in zip(_ways(figures), figures.rounds_us, strict=True)
    ]
    return (
        "## Time of a query\n\n"
        + table(["asked", "p50 ms", "p99 ms", "p50 x", "p99 x"], rows)
        + "\n\nMilliseconds are the medians of the rounds; each `x` is the median of the ratios of the rounds."
    )


def _size_table(figures: ShardFigures) -> str:
    rows = [
        [
            part.name,
            f"{part.manifest.dimensions.num_labels:,}",
            f"{part.manifest.dimensions.num_points:,}",
            f"{part.disk_bytes / _MIB:,.1f}",
            f"{part.disk_bytes / figures.whole.disk_bytes:.2f}",
        ]
        for part in (figures.whole, *figures.shards)
    ]
    return "## Size on disk\n\n" + table(["artifact", "labels", "training points", "MiB", "x"], rows)


def _loss_table(figures: ShardFigures) -> str:
    rows = [
        [
            f"`{loss.policy}`",
            _PROMISES[loss.policy],
            f"{loss.asked - len(loss.wrong)} of {loss.asked}",
            f"{loss.slowest_s:.2f}",
        ]
        for loss in figures.losses
    ]
    head = ["`--on-missing`", "promised", "answered so", "slowest answer, s"]
    wrong = [f"- `{loss.policy}`: {problem}" for loss in figures.losses for problem in sorted(set(loss.wrong))]
    parts = [f"## {figures.shards[-1].name} killed", table(head, rows)]
    return "\n\n".join([*parts, "\n".join(wrong)] if wrong else parts)
