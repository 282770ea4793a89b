"""The page about engines for batch jobs, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from astec.export.artifact.manifest import Manifest
from astec.loadtest.report.markdown import front_matter, table
from astec.loadtest.scale.engines import EngineComparison, EngineFigures, ratio
from astec.loadtest.scale.model_line import describe_model


def engines_markdown(stamp: str, settings: Sequence[str], manifest: Manifest, compared: EngineComparison) -> str:
    """Return the page; all engines are compared with the first."""
    model = f"{manifest.dimensions.num_labels:,} labels: {describe_model(manifest)}"
    notes = (
        "With the start: all texts, by the seconds of the whole command. Without it: the texts beyond the first "
        f"{compared.few:,}, by the seconds that all texts take longer than those {compared.few:,} alone; what these "
        "take stands under `start`. Each `x` compares texts a second with those of astec-predict and is the median of "
        "the ratios of the rounds; other figures are medians of the rounds. Answers are the same if labels, their "
        "order and scores are."
    )
    head = ["engine", "version", "start, s", "texts/s with the start", "x", "texts/s without it", "x", "same answers"]
    rows = [_row(compared, figures) for figures in compared.engines]
    return "\n\n".join([front_matter("Engines,", stamp, [*settings, model]), table(head, rows), notes]) + "\n"


def _row(compared: EngineComparison, figures: EngineFigures) -> list[str]:
    first = compared.engines[0]
    return [
        figures.name,
        figures.version,
        f"{median(figures.few_s):.1f}",
        f"{compared.texts / median(figures.all_s):,.0f}",
        f"{ratio(first.all_s, figures.all_s):.2f}",
        *_without_start(compared, figures),
        f"{figures.same:,} of {compared.texts:,}",
    ]


def _without_start(compared: EngineComparison, figures: EngineFigures) -> list[str]:
    """Return the texts a second and their ratio; dashes if all texts took no longer than few in some round."""
    first_s, scoring_s = compared.engines[0].scoring_s(), figures.scoring_s()
    if min(*first_s, *scoring_s) <= 0:
        return ["-", "-"]
    return [f"{(compared.texts - compared.few) / median(scoring_s):,.0f}", f"{ratio(first_s, scoring_s):.2f}"]
