"""The page about artifacts of different sizes, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from astec.loadtest.report.markdown import front_matter, table
from astec.loadtest.scale.model_line import describe_model
from astec.loadtest.scale.rounds import growth
from astec.loadtest.scale.sizes import SizeFigures

_MIB = 1 << 20


def sizes_markdown(stamp: str, settings: Sequence[str], figures: Sequence[SizeFigures]) -> str:
    """Return the page; all artifacts are compared with the first."""
    models = [f"{_labels(each)} labels: {describe_model(each.manifest)}" for each in figures]
    sections = [
        front_matter("Sizes,", stamp, [*settings, *models]),
        _query_table(figures),
        _stage_table(figures),
        _artifact_table(figures),
        "RSS and private memory are those of a server's worker after its requests; what of RSS is not private are "
        "pages of the artifact, which other workers share. Each `x` is the median of the ratios of the rounds.",
    ]
    return "\n\n".join(sections) + "\n"


def _query_table(figures: Sequence[SizeFigures]) -> str:
    first = figures[0]
    rows = [
        [
            _labels(each),
            f"{each.single(50):.0f}",
            f"{each.single(99):.0f}",
            *(f"{growth(first.single_us, each.single_us, percentile):.2f}" for percentile in (50, 99)),
            f"{each.request(50) / 1e3:.2f}",
            f"{each.request(99) / 1e3:.2f}",
            *(f"{growth(first.request_us, each.request_us, percentile):.2f}" for percentile in (50, 99)),
        ]
        for each in figures
    ]
    head = ["labels", "one query in process, p50 us", "p99 us", "p50 x", "p99 x"]
    return "## Time of a query\n\n" + table([*head, "`/predict`, p50 ms", "p99 ms", "p50 x", "p99 x"], rows)


def _stage_table(figures: Sequence[SizeFigures]) -> str:
    rows = [[_labels(each), *(f"{time_us:.0f}" for time_us in each.stages().values())] for each in figures]
    return "In process, the medians of its parts in microseconds:\n\n" + table(["labels", *figures[0].stages()], rows)


def _artifact_table(figures: Sequence[SizeFigures]) -> str:
    rows = [
        [
            _labels(each),
            f"{each.disk_bytes / _MIB:,.0f}",
            f"{each.memory.rss_bytes / _MIB:,.0f}",
            f"{each.memory.private_bytes / _MIB:,.0f}",
            *(f"{each.start_s[verify]:.1f}" for verify in ("hashes", "sizes")),
        ]
        for each in figures
    ]
    head = ["labels", "MiB on disk", "RSS MiB", "private MiB", "ready after s, hashes verified", "sizes verified"]
    return "## Disk, memory, start\n\n" + table(head, rows)


def _labels(figures: SizeFigures) -> str:
    return f"{figures.manifest.dimensions.num_labels:,}"
