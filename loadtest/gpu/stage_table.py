"""The stages of `astec-train bench` as Markdown, also of a run that was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from astec.loadtest.report.markdown import table
from astec.trainer.run.folder import HISTORY_FILE
from astec.trainer.run.history import History, HistoryError

_GIB = 1 << 30
_HEAD = ("stage", "seconds", "share", "texts/s", "peak memory GiB", "peak GPU GiB")
_SHOWN_METRICS = ("P@1", "P@5", "PSP@1", "PSP@5")


def stages_markdown(output: str, run: Path) -> str:
    """Return the table of a benchmark's stages; of one that was cut off, the seconds of the stages that it recorded.

    Args:
        output: stdout of `astec-train bench --json`, empty if it was cut off.
        run: the folder of its run.
    """
    if output.strip():
        return _finished(json.loads(output))
    try:
        seconds = History.read(run / HISTORY_FILE).stage_seconds()
    except HistoryError as error:
        return f"No stage was recorded: {error}."
    total_s = sum(seconds.values())
    rows = [[stage, f"{spent_s:.1f}", _share(spent_s, total_s)] for stage, spent_s in seconds.items()]
    return f"The run was cut off. Until its last line, after {total_s:.1f} s:\n\n{table(_HEAD[:3], rows)}"


def _finished(report: dict[str, Any]) -> str:
    sizes, total_s = report["sizes"], report["total"]["seconds"]
    rows = [
        [
            stage["stage"],
            f"{stage['seconds']:.1f}",
            _share(stage["seconds"], total_s),
            "" if stage["texts_per_s"] is None else f"{stage['texts_per_s']:,.0f}",
            *(_gibibytes(stage[kind]) for kind in ("peak_bytes", "peak_gpu_bytes")),
        ]
        for stage in (*report["stages"], report["total"])
    ]
    metrics = ", ".join(f"{name} {report['metrics'][name]:.2f}" for name in _SHOWN_METRICS)
    settings = ", ".join(f"{key}={value}" for key, value in report["settings"].items())
    return (
        f"{sizes['num_texts']:,} texts, {sizes['num_features']:,} features, {sizes['num_labels']:,} labels; products "
        f"in {report['machine']['products']}; held out: {metrics}.\n\n{table(_HEAD, rows)}\n\nSettings: {settings}."
    )


def _share(seconds: float, total_s: float) -> str:
    return f"{seconds / total_s:.1%}" if total_s else ""


def _gibibytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / _GIB:.2f}"
