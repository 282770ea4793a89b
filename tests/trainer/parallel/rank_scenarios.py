"""Training scenarios for processes that torchrun starts: each rank writes its arrays to FOLDER/rank.npz."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags
from astec.trainer.data.examples import Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel import world as world_module
from astec.trainer.parallel.distributed import join_world
from astec.trainer.parallel.world import Arrays, Mesh, SplitRows, World
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ModelSection, ShortlistSection, TrainerConfig
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import LABEL_ARRAYS
from astec.trainer.training.features import EncodedFeatures, Features, FrozenFeatures
from astec.trainer.training.loop import Loop, Schedule
from astec.trainer.training.task import AllLabels, Labels, OneVsAllTask

CPU = torch.device("cpu")
NUM_TEXTS, NUM_TOKENS, NUM_LABELS, DIM, BATCH = 33, 60, 1_501, 8, 16


def learn_all(world: World) -> Arrays:
    """Train all modules with dropout; return their arrays by name of module and array."""
    learnt: Arrays = {}
    for name in ("surrogate", "extreme", "reranker"):
        task = make_task(name, world)
        losses = [float(task.step(task.prepare(rows, step), 0.01)) for step, rows in enumerate(batches(3))]
        figures = task.precision(some_v(), labels_of(NUM_LABELS), some_candidates() if name != "surrogate" else None)
        arrays = {f"own.{key}": tensor.numpy().copy() for key, tensor in own_state(task).items()}
        arrays |= {f"all.{key}": whole(value) for key, value in task.state().items()}
        arrays |= {f"model.{key}": whole(value) for key, value in task.learnt().items()}
        arrays |= {"losses": np.array(losses), "precision": np.array([figures[f"P@{k}"] for k in (1, 3, 5)])}
        learnt |= {f"{name}.{key}": array for key, array in arrays.items()}
    return learnt


def go_on(world: World) -> Arrays:
    """Train Module IV without interruption, and by one task object that is interrupted and another that goes on."""
    folder = Path(sys.argv[1])
    straight = follow(make_task("extreme", world), Run(folder / "straight", 1_000, world))
    with suppress(InterruptedError):
        follow(make_task("extreme", world), Run(folder / "interrupted", 0, world), interrupted=True)
    # Its save is kept for the test that goes on with another number of processes.
    resumed = follow(make_task("extreme", world), resume(folder / "interrupted", world))
    states = {"straight": straight.state(), "resumed": resumed.state()}
    return {f"{which}.{key}": whole(value) for which, state in states.items() for key, value in state.items()}


def resume(folder: Path, world: World) -> Run:
    run = Run(folder, 1_000, world)
    run.resume()
    return run


def follow(task: OneVsAllTask, run: Run, interrupted: bool = False) -> OneVsAllTask:
    """Train four epochs, of which two are saved if the training is interrupted in the third."""
    probed: list[None] = []

    def probe() -> dict[str, float]:
        probed.append(None)
        if interrupted and len(probed) == 3:
            raise InterruptedError
        return {}

    if not run.folder.exists():
        run.begin(TrainerConfig())
    Loop(task, Schedule(4, BATCH, 0.01), 0, probe).run(run)
    return task


def finish(world: World) -> Arrays:
    """Let the first process write what all have learnt, and say what each gets of it."""
    run = Run(Path(sys.argv[1]) / "finished", 0, world)
    run.begin(TrainerConfig())
    task = make_task("extreme", world)
    arrays = run.together("extreme", task.learnt, LABEL_ARRAYS)
    again = run.together("extreme", dict, LABEL_ARRAYS)
    assert again.keys() == arrays.keys()
    return {**arrays, **{f"again.{name}": array for name, array in again.items()}}


def whole(value: torch.Tensor | NDArray[Any] | SplitRows) -> NDArray[Any]:
    """Return all rows on the first process, none on the others."""
    if not isinstance(value, SplitRows):
        return np.array(value.numpy() if isinstance(value, torch.Tensor) else value)
    blocks = [value.own[:0].numpy()]
    value.gather(lambda block: blocks.append(block.numpy().copy()))
    return np.concatenate(blocks)


def talk(world: World) -> Arrays:
    """Return what each communication between processes gives; each process puts in other numbers."""
    own = np.arange(world.rank, 7, world.size, dtype=np.float32)
    everything = {
        "number": np.array(3),
        "nothing": np.empty((0, 4), np.float32),
        "column": np.arange(6, dtype=np.int32).reshape(2, 3)[:, 1],
        "flags": np.array([True, False]),
    }
    shared = world.share(lambda: {name: array for name, array in everything.items() if world.leads})
    summed = torch.full((2,), 1.0 + world.rank), torch.tensor(10.0 * world.rank)
    world.sum_(*summed)
    refused = world.leads and speaks_out_of_turn(world)
    world.barrier()
    return {
        **{f"shared.{name}": array for name, array in shared.items()},
        "summed": torch.cat([tensor.reshape(-1) for tensor in summed]).numpy(),
        "agreed": np.array([world.agree(world.leads), world.agree(not world.leads)]),
        "gathered": whole(SplitRows(torch.from_numpy(own), 7, world)),
        "scattered": scatter(np.arange(2_100, dtype=np.float32).reshape(700, 3), world),
        "refused": np.array(refused),
    }


def scatter(all_n: NDArray[np.float32], world: World) -> NDArray[np.float32]:
    own_n = torch.empty(len(range(700)[world.own]), 3)
    world.scatter_rows(all_n if world.leads else None, own_n)
    return own_n.numpy()


def speaks_out_of_turn(world: World) -> bool:
    try:
        world.share(lambda: {"answer": np.array(world.agree(True))})
    except RuntimeError as error:
        return "must not talk to the others" in str(error)
    return False


def make_task(name: str, world: World) -> OneVsAllTask:
    torch.manual_seed(0)
    generator = seeded(0, 1)
    features: Features = FrozenFeatures(some_v(), CPU)
    if name != "extreme":
        encoder = Encoder.start(EncoderSection(), random_embeddings(NUM_TOKENS, DIM, generator))
        features = EncodedFeatures(encoder, Texts(some_bags()))
    labels_NL = labels_of(NUM_LABELS)
    labels: Labels = AllLabels(labels_NL)
    if name != "surrogate":
        negatives_NS = np.random.default_rng(2).integers(0, NUM_LABELS, (NUM_TEXTS, 4)).astype(np.int32)
        negatives = negatives_NS if world.leads else None
        labels = sampler_for(CPU, world, labels_NL, negatives, ShortlistSection(num_random_negatives=2), 0)
    model = ModelSection(dim=DIM, dropout=0.3, precision="float32")
    mesh = Mesh(texts=world) if name == "surrogate" else Mesh(labels=world)
    return OneVsAllTask(name, features, labels, DIM, model, generator, CPU, mesh)


def own_state(task: OneVsAllTask) -> dict[str, torch.Tensor]:
    tables = task.classifier.tables | {"residual": task.residual.table}
    tables |= task._features.tables
    return {f"{name}.{key}": tensor for name, table in tables.items() for key, tensor in table.state().items()}


def batches(epochs: int) -> list[NDArray[np.int64]]:
    """Make batches; the last batch of each epoch has one text, so that one of two processes has none."""
    orders = [np.random.default_rng(epoch).permutation(NUM_TEXTS) for epoch in range(epochs)]
    return [order[begin : begin + BATCH] for order in orders for begin in range(0, NUM_TEXTS, BATCH)]


def some_bags() -> Bags:
    """Make texts of three tokens each, except text 5, which has none."""
    lengths = np.where(np.arange(NUM_TEXTS) == 5, 0, 3)
    tokens = np.random.default_rng(1).integers(0, NUM_TOKENS, lengths.sum())
    return Bags(tokens.astype(np.int32), np.full(len(tokens), 3**-0.5, np.float32), np.append(0, lengths.cumsum()))


def some_v() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((NUM_TEXTS, DIM), np.float32)


def labels_of(num_labels: int) -> csr_matrix:
    """Make two labels for each text, one of each process."""
    rows = np.repeat(np.arange(NUM_TEXTS), 2)
    columns = np.stack([np.arange(NUM_TEXTS) * 7, np.arange(NUM_TEXTS) * 7 + 701], axis=1).reshape(-1)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(NUM_TEXTS, num_labels))


def some_candidates() -> Candidates:
    labels = np.concatenate([np.append(np.arange(1000, 1040), [7 * row, 7 * row + 701]) for row in range(NUM_TEXTS)])
    score = np.zeros(len(labels), np.float32)
    return Candidates(labels.astype(np.int32), score, score, np.arange(0, len(labels) + 1, 42))


if __name__ == "__main__":
    world_module.BLOCK_BYTES = 1 << 12  # many blocks, of which the last is shorter
    with join_world("cpu") as (joined, _):
        for scenario in (learn_all, go_on, finish, talk):
            np.savez(Path(sys.argv[1]) / f"{scenario.__name__}-{joined.rank}.npz", **dict[str, Any](scenario(joined)))
