"""The cost of training: time, speed and peak memory of every stage, on made-up data of a published shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import harmonic_mean
from typing import Any, Final

import torch
from rich.table import Table

from astec.trainer.bench.memory import PeakMemory
from astec.trainer.bench.synthetic import SHAPES, DataShape, make_training_data
from astec.trainer.pipeline.stages import train
from astec.trainer.planning.plan import Plan, StageNeed, plan_training
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.listing import changed_settings

_GIB: Final = 2**30
_EPOCHS: Final = {"surrogate": 20, "extreme": 15, "reranker": 12}
_LEARNING_RATES: Final = {
    "WikiSeeAlsoTitles-350K": (0.005, 0.002),
    "WikiTitles-500K": (0.005, 0.0005),
    "AmazonTitles-670K": (0.02, 0.002),
    "AmazonTitles-3M": (0.003, 0.0005),
    "Q2B-3M": (0.02, 0.002),
}
"""Learning rates of the surrogate task and of the extreme task (paper, Table 5)."""


def paper_settings(shape: str) -> list[str]:
    """Return the paper's sizes, epochs and learning rates for a data set (A.1, Table 5), as `section.key=value`.

    Batches have 256 texts, where the paper has 255. The paper gives no learning rate for the re-ranker, which keeps its
    default.
    """
    surrogate_rate, extreme_rate = _LEARNING_RATES[shape]
    settings: dict[str, int | float | str] = {
        "word_vectors.encoder": "",
        "model.dim": 300,
        "reranker.dim": 300,
        "surrogate.num_clusters": 2**16,
        "surrogate.learning_rate": surrogate_rate,
        "extreme.learning_rate": extreme_rate,
    }
    for section, epochs in _EPOCHS.items():
        settings |= {f"{section}.epochs": epochs, f"{section}.min_steps": 0, f"{section}.batch_size": 256}
    return [f"{key}={value}" for key, value in settings.items()]


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage.

    Attributes:
        stage: the name of the stage.
        seconds: time from the end of the previous stage to the end of this one.
        texts_per_s: training texts learnt from per second; None if the stage does not learn in epochs.
        peak_bytes: peak resident memory of the process.
        peak_gpu_bytes: peak memory allocated on the GPU; None on a CPU.
        planned_bytes: the planned peak of the resident memory, with mapped files; None where none was planned.
        planned_gpu_bytes: the planned peak on the GPU.
    """

    stage: str
    seconds: float
    texts_per_s: float | None
    peak_bytes: int
    peak_gpu_bytes: int | None
    planned_bytes: int | None = None
    planned_gpu_bytes: int | None = None


class StageMeter:
    """Observes a run's history; the time and peak memory since the previous line count for the stage of each line."""

    def __init__(self, memory: PeakMemory) -> None:
        self._memory = memory
        self._elapsed_s = 0.0
        self._costs: dict[str, list[StageCost]] = {}

    def __call__(self, line: dict[str, Any]) -> None:
        """Record the cost of one line."""
        stage, elapsed_s = line["stage"], line["elapsed_s"]
        peaks = self._memory.resident_bytes(), self._memory.gpu_bytes()
        cost = StageCost(stage, elapsed_s - self._elapsed_s, line.get("texts_per_s"), *peaks)
        self._costs.setdefault(stage, []).append(cost)
        self._elapsed_s = elapsed_s
        self._memory.reset()

    def stages(self) -> list[StageCost]:
        """Return the cost of every stage, in the order in which the stages began."""
        return [_add(stage, costs) for stage, costs in self._costs.items()]


def _add(stage: str, costs: Iterable[StageCost]) -> StageCost:
    costs = list(costs)
    rates = [cost.texts_per_s for cost in costs if cost.texts_per_s is not None]
    return StageCost(
        stage,
        round(sum(cost.seconds for cost in costs), 3),
        round(harmonic_mean(rates), 1) if rates else None,  # harmonic, since all epochs have the same number of texts
        max(cost.peak_bytes for cost in costs),
        _most(cost.peak_gpu_bytes for cost in costs),
        _most(cost.planned_bytes for cost in costs),
        _most(cost.planned_gpu_bytes for cost in costs),
    )


def _most(figures: Iterable[int | None]) -> int | None:
    return max((figure for figure in figures if figure is not None), default=None)


def beside_plan(costs: Iterable[StageCost], plan: Plan) -> list[StageCost]:
    """Return the costs with the planned peaks of their stages."""
    needs = {need.stage: need for need in plan.stages}
    return [_beside(cost, needs.get(cost.stage)) for cost in costs]


def _beside(cost: StageCost, need: StageNeed | None) -> StageCost:
    if need is None:
        return cost
    on_gpu = need.gpu_bytes if cost.peak_gpu_bytes is not None else None
    return replace(cost, planned_bytes=need.host_bytes + need.mapped_bytes, planned_gpu_bytes=on_gpu)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The result of a benchmark.

    Attributes:
        shape: name of the published data set whose sizes were used.
        scale: share of its texts, features and labels.
        sizes: the sizes of the made-up data.
        stages: the cost of each stage.
        metrics: the model's metrics on held-out texts, in percent.
        machine: the device, the machine and the versions that were measured.
        settings: the settings that differ from the defaults.
        peaks_by_stage: False if the system cannot reset peaks, so that a stage's peak may be an earlier stage's.
    """

    shape: str
    scale: float
    sizes: DataShape
    stages: Sequence[StageCost]
    metrics: dict[str, float]
    machine: dict[str, object]
    settings: dict[str, object]
    peaks_by_stage: bool

    def total(self) -> StageCost:
        """Return the cost of all stages together."""
        return replace(_add("total", self.stages), texts_per_s=None)

    def as_json(self) -> dict[str, Any]:
        """Return the report and its total as JSON types."""
        return {**asdict(self), "total": asdict(self.total())}

    def table(self) -> Table:
        """Return the report as a table for people."""
        sizes = self.sizes
        table = Table(
            title=f"{self.shape} at scale {self.scale:g}: {sizes.num_texts:,} texts, {sizes.num_features:,} features, "
            f"{sizes.num_labels:,} labels",
            caption="\n".join(self._notes()),
            caption_justify="left",
        )
        table.add_column("stage", no_wrap=True)
        for heading in ("seconds", "texts/s", "peak memory", "planned", "peak GPU memory", "planned"):
            table.add_column(heading, justify="right")
        total = self.total()
        for cost in (*self.stages, total):
            cells = (cost.stage, f"{cost.seconds:,.1f}", _whole(cost.texts_per_s))
            on_gpu = cost.peak_gpu_bytes, cost.planned_gpu_bytes
            peaks = map(_gibibytes, (cost.peak_bytes, cost.planned_bytes, *on_gpu))
            table.add_row(*cells, *peaks, style="bold" if cost is total else None)
        return table

    def _notes(self) -> list[str]:
        notes = [
            "held out: " + ", ".join(f"{name} {value:.2f}" for name, value in self.metrics.items() if "P@" in name),
            "machine: " + ", ".join(f"{name} {value}" for name, value in self.machine.items()),
            "settings: " + (", ".join(f"{key}={value}" for key, value in self.settings.items()) or "the defaults"),
        ]
        if not self.peaks_by_stage:
            notes.append("peaks are of the process so far: this system does not set them back")
        return notes


def _whole(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.0f}"


def _gibibytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / _GIB:.2f} GiB"


def run_bench(shape: str, scale: float, config: TrainerConfig, device: torch.device, folder: Path) -> BenchReport:
    """Train on made-up data of `shape` in the run folder `folder`.

    Raises:
        ScaleError: the scale leaves too little data.
        RunError: the folder cannot be used.
        DivergedError: a loss became NaN or infinite.
    """
    sizes = SHAPES[shape].scaled(scale)
    run = Run(folder)
    run.begin(config)
    memory = PeakMemory(device)
    meter = StageMeter(memory)
    run.observers.append(meter)
    data = make_training_data(sizes, config.seed)
    run.record("synthetic data", texts=len(data.examples), pairs=data.examples.labels.nnz)
    plan = plan_training(DataSizes.of(data), config, Setup.of(config.model.precision, device, run.world))
    checkpoint = train(data, config, device, run)
    run.record("checkpoint")
    return BenchReport(
        shape=shape,
        scale=scale,
        sizes=sizes,
        stages=beside_plan(meter.stages(), plan),
        metrics=checkpoint.metrics,
        machine={name: checkpoint.training[name] for name in ("device", "machine", "torch", "products")},
        settings=changed_settings(config),
        peaks_by_stage=memory.resettable,
    )
