"""`python -m astec.loadtest.gpu`: the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated

import torch
import typer

from astec.export.console import console
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail, split_names
from astec.loadtest.gpu.accelerator import describe, gpu_id
from astec.loadtest.gpu.gpu_page import to_markdown
from astec.loadtest.gpu.plan import PARTS, SCALES, GpuPlan
from astec.loadtest.gpu.step import Ending, Outcome, run_step
from astec.loadtest.report.dated_page import RESULTS, DatedPage

EXIT_FAILED = 1
_COMMAND = "gpu"
_SECONDS = 525.0
_MAX_SCALE = 10
_LEAST_S = 5.0
"""A step is left out if less time is left for it."""

app = typer.Typer(add_completion=False)


@app.command()
def gpu(
    device: Annotated[str, typer.Option(help="cuda, cuda:1, or cpu to try the command without a GPU.")] = "cuda",
    seconds: Annotated[float, typer.Option(min=_LEAST_S, help="Time limit of all parts together.")] = _SECONDS,
    scales: Annotated[
        str, typer.Option(help="Scales of the benchmark, rising; it goes as far as the time suffices.")
    ] = ",".join(map(str, SCALES)),
    only: Annotated[
        str, typer.Option(help=f"The only parts to run, of {', '.join(PARTS)}. Default: all.", show_default=False)
    ] = "",
    small: Annotated[
        bool, typer.Option("--small", help="Make everything tiny, to see in seconds whether it works; no real figures.")
    ] = False,
    commit: Annotated[
        str | None, typer.Option(help="The commit of the code, where there is no git to ask.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the dated page.")] = RESULTS,
) -> None:
    """Check and measure training on a GPU, in at most nine minutes, and write a dated page.

    The parts, each with a time limit: the project's GPU tests (90 s); P@1 and PSP@1 of models trained on the GPU and on
    the CPU from the same log (150 s); time, memory and torch's profile of a training step of each module, at the sizes
    of AmazonTitles-670K (90 s); and in the rest of the time, time and peak memory of every stage of training at growing
    scales of it, with the paper's epochs. The use of the GPU and of main memory is sampled all along.

    Exit codes: 0 done as far as the time sufficed; 1 a step failed (the page says why); 2 wrong usage, or there is no
    GPU; 130 interrupted (the page has the results so far).
    """
    if device != "cpu" and not torch.cuda.is_available():
        fail(
            _COMMAND, f"torch {torch.__version__} finds no GPU on this machine; --device cpu --small tries the command"
        )
    plan = GpuPlan(device, seconds, _numbers(scales), small, _chosen_parts(only))
    outcomes: list[Outcome] = []
    text = ""
    page = DatedPage.create(output, _COMMAND)
    machine = describe(device, commit)
    with TemporaryDirectory(prefix="astec-gpu-") as folder:
        for outcome in _run(plan, Path(folder)):
            outcomes.append(outcome)
            # Written after every step, so that even a kill leaves what was measured.
            text = to_markdown(page.stamp, machine, _settings(plan), outcomes)
            page.write(text)
    typer.echo(text, nl=False)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)
    if outcomes[-1].ending is Ending.INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(outcome.ending is Ending.FAILED for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


def _run(plan: GpuPlan, folder: Path) -> Iterator[Outcome]:
    """Run the steps one after the other, each within what is left of the time; an interruption ends them."""
    end_s = monotonic() + plan.seconds
    # Plugins of pytest that are installed by chance are not the GPU tests' concern.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for step in plan.steps(folder):
        left_s = end_s - monotonic()
        if left_s < _LEAST_S:
            yield Outcome(step, Ending.NO_TIME, "no time was left")
            continue
        console.print(f"{step.name}, at most {min(step.limit_s, left_s):.0f} s ...", markup=False)
        outcome = run_step(step, left_s, environment, gpu_id(plan.device))
        yield outcome
        if outcome.ending is Ending.INTERRUPTED:
            return


def _settings(plan: GpuPlan) -> list[str]:
    scales = ", ".join(f"{scale:g}" for scale in plan.scales)
    sizes = "everything tiny, the figures say nothing" if plan.small else f"scales {scales}"
    return [f"settings: device {plan.device}; {plan.seconds:.0f} s in all; {sizes}"]


def _chosen_parts(only: str) -> list[str]:
    names = split_names(only)
    if unknown := set(names) - set(PARTS):
        fail(_COMMAND, f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names or list(PARTS)


def _numbers(commas: str) -> list[float]:
    try:
        numbers = [float(number) for number in split_names(commas)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= _MAX_SCALE for number in numbers):
        fail(_COMMAND, f"--scales {commas!r} must be numbers above 0 and at most {_MAX_SCALE}, such as 0.02,0.1")
    return numbers
