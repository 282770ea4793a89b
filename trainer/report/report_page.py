"""The page `report.html` of a run: its figures, charts and samples in one file that needs no network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.calibration.fit import CalibrationFit, fit_calibration
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.trainer.report.charts import (
    draw_epochs,
    draw_quantiles,
    draw_recall,
    draw_reliability,
    draw_share,
    draw_shares,
    draw_stages,
)
from astec.trainer.report.evaluation import Evaluation, read_evaluation
from astec.trainer.report.quantiles import Quantile, by_frequency
from astec.trainer.run.folder import CONFIG_FILE, HISTORY_FILE
from astec.trainer.run.history import History, Line
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import load_config
from astec.trainer.settings.listing import default_settings, describe_settings

REPORT_FILE = "report.html"
_MODULES = {
    "surrogate": "Module I: embeddings, on the surrogate task",
    "extreme": "Modules III and IV: residual and classifiers",
    "reranker": "Re-ranker",
}

_MIXED_METRICS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5")


@dataclass(frozen=True, slots=True)
class Charts:
    """The charts, as SVG elements."""

    quantiles: Markup
    recall: Markup
    stages: Markup
    modules: dict[str, Markup]
    shares: list[Markup]
    reliability: Markup | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the run, with its default."""

    key: str
    value: object
    default: object
    meaning: str


def write_report(run_folder: Path) -> Path:
    """Write `report.html` atomically, from the configuration, history and evaluation in the run folder.

    Returns:
        The path of the page.

    Raises:
        EvaluationError: the run's evaluation is missing or damaged.
        HistoryError: the run's history is missing or damaged.
        ConfigError: the run's configuration is missing or damaged.
    """
    evaluation = read_evaluation(run_folder)
    history = History.read(run_folder / HISTORY_FILE)
    settings = _settings(load_config(run_folder / CONFIG_FILE, []))
    quantiles = by_frequency(evaluation)
    fit = fit_calibration(ScoredPairs.of_hits(evaluation.ranked, evaluation.scores, evaluation.hits()))
    page = (
        _environment()
        .get_template(REPORT_FILE)
        .render(
            name=run_folder.resolve().name,
            evaluation=evaluation,
            num_held_out=len(evaluation.ranked),
            metrics=evaluation.metrics(),
            ranks=(1, 3, 5),
            quantiles=quantiles,
            fit=fit,
            charts=_draw(evaluation, history, quantiles, fit),
            parts_left_out=_one_part_less(history.of_stage("mix-parts")),
            mixed_metrics=_MIXED_METRICS,
            settings=settings,
            changed=[setting for setting in settings if setting.value != setting.default],
        )
    )
    write_file_atomically(run_folder / REPORT_FILE, page.encode())
    return run_folder / REPORT_FILE


def _environment() -> Environment:
    """Return the template environment, which escapes all values: texts and labels come from untrusted users."""
    environment = Environment(
        loader=PackageLoader("astec.trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = "{:.2f}".format
    environment.filters["thousands"] = "{:,}".format
    return environment


def _draw(
    evaluation: Evaluation, history: History, quantiles: Sequence[Quantile], fit: CalibrationFit | None
) -> Charts:
    return Charts(
        quantiles=_picture(draw_quantiles(quantiles)),
        recall=_picture(draw_recall(evaluation.recall)),
        stages=_picture(draw_stages(history.stage_seconds())),
        modules={
            _MODULES.get(module, module): _picture(draw_epochs(epochs)) for module, epochs in history.epochs().items()
        },
        shares=[_picture(svg) for svg in _draw_mixes(history.of_stage("validation"), evaluation.shares)],
        reliability=None if fit is None else _picture(draw_reliability(fit)),
    )


def _draw_mixes(trials: Sequence[Line], chosen: dict[str, float]) -> list[str]:
    """Draw the trials of each search: a chart if one share varied, else a map of every pair of shares that varied."""
    searches: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for trial in trials:
        searches[tuple(share for share in chosen if share in trial)].append(trial)
    drawn = []
    for shares, search in searches.items():
        varied = [share for share in shares if len({trial[share] for trial in search}) > 1]
        if len(varied) == 1:
            drawn.append(draw_share(search, varied[0], chosen[varied[0]]))
        drawn += [draw_shares(search, (x, y), (chosen[x], chosen[y])) for x, y in combinations(varied, 2)]
    return drawn


def _one_part_less(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of the fit of a mix that leave out no part, or a single one."""
    return [line for line in lines if "," not in line["without"]]


def _picture(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - made by matplotlib, which escapes what it writes


def _settings(config: TrainerConfig) -> list[Setting]:
    defaults = default_settings(config)
    return [Setting(key, value, defaults[key], meaning) for key, value, meaning in describe_settings(config)]
