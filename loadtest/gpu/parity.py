"""The accuracy of models trained on a GPU and on a CPU, from the same log with the same settings.

Started as a process: `python -m astec.loadtest.gpu.parity FOLDER DEVICE`. Both trainings run at the
same time, each with threads for half of the CPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Final

import typer

from astec.export.model.checkpoint_folder import read_checkpoint
from astec.loadtest.report.markdown import table
from astec.trainer.demo.log import DemoLogConfig, write_demo_log

TOLERANCE: Final = 2.0
"""Most points of P@1 and of PSP@1 that both models may differ by.

They differ in the number formats of their products, in the labels that fill a batch up, and in dropout.
"""
METRICS: Final = ("P@1", "PSP@1")
_SHOWN: Final = ("P@1", "P@5", "PSP@1", "PSP@5")
_SETTINGS = (
    "validation.fraction=0.2",  # many texts, so that chance decides little
    *("model.dim=64", "surrogate.epochs=6", "extreme.epochs=6", "sparse.costs=[0.5]"),
    *("shortlist.num_hard_negatives=100", "shortlist.num_random_negatives=10"),
    *("reranker.enabled=true", "reranker.dim=64", "reranker.epochs=4", "reranker.num_negatives=50"),
)
_SMALL_SETTINGS = (
    *("model.dim=16", "reranker.dim=16"),
    *(f"{module}.{each}" for module in ("surrogate", "extreme", "reranker") for each in ("epochs=1", "min_steps=8")),
)
_POLL_S = 0.2


def main(
    folder: Annotated[Path, typer.Argument(help="Where the log and the runs go.")],
    device: Annotated[str, typer.Argument(help="The device to compare with the CPU.")],
    queries: Annotated[int, typer.Option(help="Training queries of the log.")] = 20_000,
    small: Annotated[bool, typer.Option("--small", help="Train as little as possible.")] = False,
) -> None:
    """Train on both devices, and print a table. Exit code 1: a training failed, or they differ by too much."""
    log = folder / "log"
    sizes = DemoLogConfig(num_queries=queries, num_test_queries=queries // 10, num_phrases=3 * queries // 10)
    write_demo_log(log, sizes)
    settings = [*_SETTINGS, *(_SMALL_SETTINGS if small else ())]
    metrics, seconds = train_on_both(log, folder, device, settings)
    rows = [[name, *(f"{metrics[name][metric]:.2f}" for metric in _SHOWN), f"{seconds[name]:.0f}"] for name in metrics]
    differences = {metric: metrics["device"][metric] - metrics["cpu"][metric] for metric in METRICS}
    said = ", ".join(f"{metric} {difference:+.2f}" for metric, difference in differences.items())
    typer.echo(
        f"{queries:,} queries and {sizes.num_phrases:,} phrases of the demo log; metrics on held-out texts, "
        f"in percent. `device` is {device}. Differences: {said}; allowed: {TOLERANCE:g} points each.\n\n"
        f"{table(['', *_SHOWN, 'training s'], rows)}\n\nSettings: {' '.join(settings)}"
    )
    if any(abs(difference) > TOLERANCE for difference in differences.values()):
        typer.echo(f"differs by {said}, and {TOLERANCE:g} points are allowed", err=True)
        raise typer.Exit(1)


def train_on_both(
    log: Path, folder: Path, device: str, settings: list[str]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Train on the CPU and on the device at the same time; return the metrics and the seconds of both.

    Raises:
        CalledProcessError: a training failed.
    """
    options = [part for setting in settings for part in ("--set", setting)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // 2))
    runs = {"cpu": "cpu", "device": device}
    begun_s = monotonic()
    trainings = {}
    for name, where in runs.items():
        command = [sys.executable, "-m", "astec.trainer", str(log), str(folder / name), "--device", where, *options]
        trainings[name] = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": threads})
    seconds: dict[str, float] = {}
    while len(seconds) < len(trainings):
        sleep(_POLL_S)
        for name, training in trainings.items():
            if name not in seconds and (code := training.poll()) is not None:
                if code:
                    raise subprocess.CalledProcessError(code, training.args)
                seconds[name] = monotonic() - begun_s
    return {name: read_checkpoint(folder / name).metrics for name in runs}, seconds


if __name__ == "__main__":
    typer.run(main)
