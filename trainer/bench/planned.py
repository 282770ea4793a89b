"""The plan of a training on data of a published shape, without the data."""

from __future__ import annotations

import os

from rich.table import Table

from astec.trainer.bench.synthetic import DataShape
from astec.trainer.planning.need import gibibytes
from astec.trainer.planning.plan import Plan, plan_training
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config import TrainerConfig

_BFLOAT16, _FLOAT32 = 2, 4


def plan_shape(shape: DataShape, config: TrainerConfig, device: str) -> Plan:
    """Work out what one process needs for data of this shape.

    Args:
        shape: the sizes of the data.
        config: all settings.
        device: cpu, or cuda for a GPU that this machine need not have; auto stands for cpu.
    """
    gpu = device.startswith("cuda")
    exact = config.model.precision == "float32" or (config.model.precision == "auto" and not gpu)
    setup = Setup(gpu, _FLOAT32 if exact else _BFLOAT16, 1, 1, os.cpu_count() or 1)
    return plan_training(sizes_of(shape), config, setup)


def sizes_of(shape: DataShape) -> DataSizes:
    """Return the sizes of data of this shape, with labels that are named by number."""
    label_bytes = shape.num_labels * (8 + len(str(shape.num_labels)))
    return DataSizes(
        texts=shape.num_texts,
        label_texts=0,
        tokens=round(shape.num_texts * shape.features_per_text),
        pairs=round(shape.num_texts * shape.labels_per_text),
        features=shape.num_features,
        labels=shape.num_labels,
        string_bytes=label_bytes,
        label_bytes=label_bytes,
    )


def plan_table(title: str, plan: Plan) -> Table:
    """Return a plan as a table for people."""
    host, gpu = plan.most_host(), plan.most_gpu()
    table = Table(title=title, caption=f"disk: {gibibytes(plan.disk_bytes)}", caption_justify="left")
    table.add_column("stage")
    for heading in ("memory", "mapped files", "GPU memory"):
        table.add_column(heading, justify="right")
    for need in plan.stages:
        on_gpu = gibibytes(need.gpu_bytes) if need.gpu_bytes else ""
        mapped = gibibytes(need.mapped_bytes) if need.mapped_bytes else ""
        table.add_row(need.stage, gibibytes(plan.host_bytes(need)), mapped, on_gpu)
    most_on_gpu = gibibytes(gpu.gpu_bytes) if gpu.gpu_bytes else ""
    table.add_row("most", gibibytes(plan.host_bytes(host)), "", most_on_gpu, style="bold")
    return table
