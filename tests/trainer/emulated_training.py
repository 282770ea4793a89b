"""Trainings on the emulated device, in a process of their own: `emulated_training.py DATA FOLDER`.

`DATA` is a small training file. `FOLDER/seen.json` gets what each function of `SCENARIOS` returned, by its name.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.text.bags import Bags
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.trainer.data.examples import Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.launch import RunOptions, begin_run
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.numerics.device import pick_device, seeded, to_device
from astec.trainer.numerics.row_table import RowTable
from astec.trainer.parallel.world import ALONE
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ModelSection, ShortlistSection, TrainerConfig
from astec.trainer.settings.config_file import load_config
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.features import EncodedFeatures, Features, FrozenFeatures
from astec.trainer.training.loop import DivergedError, Loop, Schedule
from astec.trainer.training.task import AllLabels, Labels, OneVsAllTask, TaskBatch
from tests.trainer.emulated_device import COUNTS, NAME, install, shape_only

CPU = torch.device("cpu")
_SHORTLIST = ShortlistSection(num_random_negatives=2)
MODULES = ("surrogate", "extreme", "reranker")
NUM_TEXTS, NUM_TOKENS, NUM_LABELS, DIM = 130, 60, 1_501, 8
CHEAP = [
    "model.dim=8",
    "reranker.dim=8",
    *(f"{module}.{setting}" for module in MODULES for setting in ("min_steps=4", "epochs=1", "batch_size=16")),
]
# Recurrent networks are not among the encoders: on another device than the CPU they need kernels of that device.
RUNS = {
    "deepxml": ["reranker.enabled=true", "model.precision=bfloat16"],
    "deepxml-ova": ["encoder.kind=mlp"],
    "deepxml-anns": ["encoder.kind=xml-cnn"],
    "end-to-end": ["encoder.kind=attention"],
    "mach": ["surrogate.method=hashed", "surrogate.num_clusters=4", "seeds=[0,1]"],
}
PUBLISHED = {"labels": 670_091, "dim": 300, "batch": 256, "sampled": 128_000, "pairs": 1_380}
"""Sizes of the extreme task on AmazonTitles-670K."""


def train_by_every_framework(data: Path, folder: Path) -> dict[str, Any]:
    """Return the metrics of a run of each framework."""
    found = {}
    for framework, settings in RUNS.items():
        config = load_config(None, [f"framework={framework}", *CHEAP, *settings])
        options = RunOptions(device=NAME, save_minutes=0, tensorboard=False)
        begin_run(data, folder / framework, config, options, skip_bad_lines=False)
        found[framework] = read_checkpoint(folder / framework).metrics
    return found


def learn_as_on_the_cpu(data: Path, folder: Path) -> dict[str, Any]:
    """Return the losses of every module on both devices, with the same samples of labels."""
    found = {}
    for module in MODULES:
        emulated = pick_device(NAME)
        on_device, on_cpu = (make_task(module, device, sampled_on=emulated) for device in (emulated, CPU))
        losses: dict[str, list[float]] = {"device": [], "cpu": []}
        for step, rows in enumerate(np.split(np.random.default_rng(0).permutation(NUM_TEXTS), 10)):
            batch = on_device.prepare(rows, step)
            losses["device"].append(float(on_device.step(batch, 0.01)))
            losses["cpu"].append(float(on_cpu.step(moved(batch), 0.01)))
        found[module] = losses
    return found


def loop(data: Path, folder: Path) -> dict[str, Any]:
    """Return what a loop of 130 steps does for every module."""
    found = {}
    for module in MODULES:
        task = make_task(module, pick_device(NAME), dropout=0.5)
        run = Run(folder / module)
        run.begin(TrainerConfig())
        COUNTS.reset()
        Loop(task, Schedule(epochs=1, batch_size=1, learning_rate=0.01), seed=0).run(run)
        found[module] = {"waits": dict(COUNTS.waits), "kernels": COUNTS.kernels.total(), "steps": NUM_TEXTS}
    return found


def diverge(data: Path, folder: Path) -> dict[str, Any]:
    """Return the steps that a task took whose loss is infinite at once, and the message of its end."""
    task = make_task("extreme", pick_device(NAME))
    task.classifier.biases.weight.fill_(torch.inf)
    run, steps = Run(folder / "diverged"), 0
    run.begin(TrainerConfig())
    original = task.step

    def step(batch: TaskBatch, rate: float) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return original(batch, rate)

    task.step = step  # type: ignore[method-assign]
    try:
        Loop(task, Schedule(epochs=1, batch_size=1, learning_rate=0.01), seed=0).run(run)
    except DivergedError as error:
        return {"steps": steps, "said": str(error)}
    return {"steps": steps, "said": ""}


def sample(data: Path, folder: Path) -> dict[str, Any]:
    """Return a sample of labels from the device and one from the CPU, and what the first one did."""
    labels_NL, negatives_NS = labels_of(NUM_LABELS), negatives()
    samplers = [
        sampler_for(device, ALONE, labels_NL, negatives_NS, _SHORTLIST, 0) for device in (pick_device(NAME), CPU)
    ]
    rows, samples = np.arange(90, 130), {}
    COUNTS.reset()
    on_device = samplers[0].sample(rows, 3)
    counted = {"waits": dict(COUNTS.waits), "kernels": COUNTS.kernels.total(), "uploads": COUNTS.uploads.total()}
    for name in ("labels", "rows", "columns"):
        samples[name] = getattr(on_device, name).cpu().tolist()
    on_cpu = [array.tolist() for array in samplers[1].sample(rows, 3)]
    return {"device": samples, "cpu": dict(zip(("labels", "rows", "columns"), on_cpu, strict=True)), **counted}


def move_bytes(data: Path, folder: Path) -> dict[str, Any]:
    """Return the bytes that a step of the extreme task at published sizes moves, and those of Adam on the classifiers.

    Adam is here in separate operations, as on a device without Triton.
    """
    num_labels, dim, num_texts, sampled, pairs = PUBLISHED.values()
    task = make_task("extreme", pick_device(NAME), precision="bfloat16")
    task.residual.table, task.residual.left = RowTable(shape_only(dim, dim)), shape_only(dim)
    task.classifier.weights = RowTable(shape_only(num_labels, dim))
    task.classifier.biases = RowTable(shape_only(num_labels, 1))
    task.classifier.tables = {"classifier": task.classifier.weights, "bias": task.classifier.biases}
    labels, rows, columns = (shape_only(size, dtype=torch.int64) for size in (sampled, pairs, pairs))
    batch = TaskBatch(num_texts, (shape_only(num_texts, dim),), labels, rows, columns)
    task.step(batch, 0.01)  # makes the moments of Adam, once and for all
    COUNTS.reset()
    task.step(batch, 0.01)
    whole = COUNTS.bytes_moved.total()
    weights = task.classifier.weights
    leaf = weights.gather(shape_only(sampled, dtype=torch.int64))
    leaf.grad = shape_only(sampled, dim)
    COUNTS.reset()
    weights.step(0.01)
    return {"whole": whole, "adam": COUNTS.bytes_moved.total()}


def update_every_row(data: Path, folder: Path) -> dict[str, Any]:
    """Return the operations of a step over a whole table."""
    table = RowTable(to_device(np.ones((5, 3), np.float32), pick_device(NAME)))
    COUNTS.reset()
    leaf = table.gather(None)
    gathered = COUNTS.kernels.total()
    leaf.grad = torch.ones_like(leaf)
    table.step(0.1)
    return {"gathered": gathered, "kernels": dict(COUNTS.kernels), "weight": table.weight.cpu().tolist()}


def mix(data: Path, folder: Path) -> dict[str, Any]:
    """Return what the device says of a sum with a tensor of the CPU, and the waits that a few operations make."""
    on_device = to_device(np.arange(3.0, dtype=np.float32), pick_device(NAME))
    COUNTS.reset()
    said = ""
    try:
        on_device + torch.ones(3)
    except RuntimeError as error:
        said = str(error)
    waits = []
    for operation in (lambda: float(on_device[0]), lambda: on_device[on_device > 0], lambda: torch.unique(on_device)):
        before = COUNTS.waits.total()
        operation()
        waits.append(COUNTS.waits.total() - before)
    return {"said": said, "waits": waits}


SCENARIOS: tuple[Callable[[Path, Path], dict[str, Any]], ...] = (
    mix,
    learn_as_on_the_cpu,
    loop,
    diverge,
    sample,
    update_every_row,
    move_bytes,
    train_by_every_framework,
)


def make_task(
    module: str, device: torch.device, sampled_on: torch.device | None = None, **changes: Any
) -> OneVsAllTask:
    """Make the task of a module on a device; without dropout, in float32, unless `changes` has other settings."""
    torch.manual_seed(0)
    generator = seeded(0, 1)
    v_ND = np.random.default_rng(3).random((NUM_TEXTS, DIM), np.float32)
    features: Features = FrozenFeatures(v_ND, device)
    if module != "extreme":
        encoder = Encoder.start(EncoderSection(), random_embeddings(NUM_TOKENS, DIM, generator).to(device))
        features = EncodedFeatures(encoder, Texts(bags()))
    labels_NL = labels_of(NUM_LABELS)
    labels: Labels = AllLabels(labels_NL)
    if module != "surrogate":
        labels = sampler_for(sampled_on or device, ALONE, labels_NL, negatives(), _SHORTLIST, 0)
    model = ModelSection(dim=DIM, **{"dropout": 0.0, "precision": "float32", **changes})
    return OneVsAllTask(module, features, labels, DIM, model, generator, device)


def moved(batch: TaskBatch) -> TaskBatch:
    """Return the batch on the CPU."""
    labels = None if batch.labels is None else batch.labels.cpu()
    features = tuple(tensor.cpu() for tensor in batch.features)
    return TaskBatch(batch.num_texts, features, labels, batch.rows.cpu(), batch.columns.cpu())


def bags() -> Bags:
    generator = np.random.default_rng(1)
    ids = generator.integers(0, NUM_TOKENS, 3 * NUM_TEXTS).astype(np.int32)
    return Bags(ids, np.full(len(ids), 0.5, np.float32), np.arange(0, len(ids) + 1, 3))


def labels_of(num_labels: int) -> csr_matrix:
    generator = np.random.default_rng(2)
    pairs = np.arange(NUM_TEXTS).repeat(2), generator.integers(0, num_labels, 2 * NUM_TEXTS)
    return csr_matrix((np.ones(2 * NUM_TEXTS, np.float32), pairs), shape=(NUM_TEXTS, num_labels))


def negatives() -> NDArray[np.int32]:
    drawn_NS = np.random.default_rng(4).integers(-1, NUM_LABELS, (NUM_TEXTS, 20)).astype(np.int32)
    return -np.sort(-drawn_NS, axis=1)  # -1, for no label, comes last


def main(data: Path, folder: Path) -> None:
    install()
    seen = {scenario.__name__: scenario(data, folder) for scenario in SCENARIOS}
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
