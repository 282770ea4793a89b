"""The time and memory of a training step of each module, and a profile of its operations.

Started as a process: `python -m astec.loadtest.gpu.module_profile DEVICE`. It prints Markdown, a module after the
other, so that the modules that it finished are known if it is killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile

from astec.loadtest.gpu.module_tasks import MODULES, make_task
from astec.loadtest.report.markdown import table
from astec.trainer.bench.cost import paper_settings
from astec.trainer.bench.memory import PeakMemory
from astec.trainer.bench.synthetic import SHAPES
from astec.trainer.numerics.device import pick_device
from astec.trainer.settings.config_file import load_config
from astec.trainer.training.lesson import ModuleName
from astec.trainer.training.task import OneVsAllTask, TaskBatch

SHAPE: Final = "AmazonTitles-670K"
_BATCH_SIZE = 256
_WARM_UP_STEPS, _PROFILED_STEPS, _MOST_ROWS = 3, 5, 15
_RATE = 0.001
_MS, _GIB = 1e3, 1 << 30
_HEAD = ("labels of a step", "prepare ms", "start ms", "step ms", "texts/s", "peak GPU GiB")
_SMALL = ("model.dim=16", "reranker.dim=16", "surrogate.num_clusters=512")


@dataclass(frozen=True, slots=True)
class StepCost:
    """The cost of one training step.

    Attributes:
        num_labels: the labels that its texts are scored against.
        prepare_s: time to prepare its batch, on one thread, while earlier steps run.
        start_s: time of the host, until it has started the step.
        step_s: time until the device has finished it.
        gpu_bytes: peak memory of the tensors on the GPU; None on a CPU.
    """

    num_labels: int
    prepare_s: float
    start_s: float
    step_s: float
    gpu_bytes: int | None

    def cells(self) -> list[str]:
        """Return the cells of its row."""
        times = (f"{_MS * seconds:.2f}" for seconds in (self.prepare_s, self.start_s, self.step_s))
        peak = "" if self.gpu_bytes is None else f"{self.gpu_bytes / _GIB:.2f}"
        return [f"{self.num_labels:,}", *times, f"{_BATCH_SIZE / max(self.prepare_s, self.step_s):,.0f}", peak]


def main(
    device: Annotated[str, typer.Argument(help="cpu, cuda or cuda:1.")],
    scale: Annotated[float, typer.Option(help="Share of the labels and features of the data set.")] = 1.0,
    steps: Annotated[int, typer.Option(min=_PROFILED_STEPS, help="Steps to time.")] = 30,
    small: Annotated[bool, typer.Option("--small", help="Few dimensions and clusters.")] = False,
) -> None:
    """Print the cost of a step of each module, and the table of torch's profiler."""
    shape, chosen = SHAPES[SHAPE].scaled(scale), pick_device(device)
    config = load_config(None, [*paper_settings(SHAPE), *(_SMALL if small else ())])
    typer.echo(
        f"Steps of {_BATCH_SIZE} random texts with the sizes of {SHAPE} ({shape.num_features:,} features, "
        f"{shape.num_labels:,} labels, D = {config.model.dim}), mean of {steps} steps. The host prepares a batch while "
        "the device learns from another, so texts/s is by the slower of the two.\n"
    )
    for module in MODULES:
        task = make_task(module, shape, _BATCH_SIZE * steps, config, chosen)
        typer.echo(f"### {module}\n\n{_report(module, task, steps, chosen)}\n")
        del task  # its memory is not the next module's


def _report(module: ModuleName, task: OneVsAllTask, steps: int, device: torch.device) -> str:
    rows_SB = np.random.default_rng(0).permutation(_BATCH_SIZE * steps).reshape(steps, _BATCH_SIZE)
    cost = measure(task, list(rows_SB), device)
    batches = [task.prepare(rows, step) for step, rows in enumerate(rows_SB[:_PROFILED_STEPS])]
    operations = profile_steps(task, batches, device)
    return f"{table(_HEAD, [cost.cells()])}\n\n{_PROFILED_STEPS} steps by torch's profiler:\n\n```\n{operations}\n```"


def measure(task: OneVsAllTask, rows: list[NDArray[np.int64]], device: torch.device) -> StepCost:
    """Time the steps of the texts in `rows`, a step each, after a few that do not count."""
    memory = PeakMemory(device)
    for step in range(_WARM_UP_STEPS):
        task.step(task.prepare(rows[step % len(rows)], step), _RATE)
    batches: list[TaskBatch] = []

    def prepare() -> None:
        batches.extend(task.prepare(some, step) for step, some in enumerate(rows))

    def learn() -> None:
        for batch in batches:
            task.step(batch, _RATE)

    _, prepare_s = _time(prepare, device)
    start_s, step_s = _time(learn, device)
    num_labels = task.classifier.weights.weight.shape[0] if batches[0].labels is None else len(batches[0].labels)
    count = len(rows)
    return StepCost(num_labels, prepare_s / count, start_s / count, step_s / count, memory.gpu_bytes())


def profile_steps(task: OneVsAllTask, batches: list[TaskBatch], device: torch.device) -> str:
    """Return the table of torch's profiler for a step of each batch: the operations that take the device longest."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for batch in batches:
            task.step(batch, _RATE)
        _synchronize(device)
    order = f"self_{device.type}_time_total"
    text: str = profiler.key_averages().table(sort_by=order, row_limit=_MOST_ROWS, max_name_column_width=60)
    return text.strip()


def _time(work: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Return the seconds until `work` returns, and until the device has finished it, too."""
    _synchronize(device)
    begun_s = perf_counter()
    work()
    returned_s = perf_counter() - begun_s
    _synchronize(device)
    return returned_s, perf_counter() - begun_s


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    typer.run(main)
