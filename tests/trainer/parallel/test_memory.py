"""The memory of each of several processes that split the labels, counted in bytes of arrays."""

import gc
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel import world as world_module
from astec.trainer.parallel.world import Mesh, SplitRows, World
from astec.trainer.settings.config import ModelSection, ShortlistSection
from astec.trainer.training.features import FrozenFeatures
from astec.trainer.training.task import OneVsAllTask

CPU = torch.device("cpu")
NUM_TEXTS, NUM_LABELS, DIM, NUM_NEGATIVES = 300, 20_000, 64, 100
CLASSIFIER_BYTES = NUM_LABELS * (DIM + 1) * 4


class Counting(World):
    """One of several processes, whose messages all stay empty; it counts the bytes of the blocks of split rows."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self.largest_block = 0

    def gather_rows(self, own_n: torch.Tensor, num_rows: int, take: object) -> None:
        row_bytes = own_n[:1].nbytes
        for block in self._blocks(num_rows, own_n):
            self.largest_block = max(self.largest_block, (block.stop - block.start) * row_bytes)


def make_task(world: World, negatives_NS: NDArray[np.int32]) -> OneVsAllTask:
    columns = np.random.default_rng(1).integers(0, NUM_LABELS, NUM_TEXTS)
    labels_NL = csr_matrix((np.ones(NUM_TEXTS, np.float32), columns, np.arange(NUM_TEXTS + 1)), (NUM_TEXTS, NUM_LABELS))
    v_ND = np.random.default_rng(2).random((NUM_TEXTS, DIM), np.float32)
    labels = sampler_for(CPU, world, labels_NL, negatives_NS if world.leads else None, ShortlistSection(), 0)
    model = ModelSection(dim=DIM, precision="float32")
    return OneVsAllTask("extreme", FrozenFeatures(v_ND, CPU), labels, DIM, model, seeded(0), CPU, Mesh(labels=world))


def tensor_bytes(state: dict[str, Any]) -> int:
    """Return the bytes of the classifiers and their moments that a process holds."""
    own = [one.own if isinstance(one, SplitRows) else one for name, one in state.items() if "residual" not in name]
    return sum(tensor.nbytes for tensor in own)


def reachable(root: object, array: NDArray[Any]) -> bool:
    """Return True if an object refers to an array, through other objects."""
    seen, coming = set(), [root]
    while coming:
        one = coming.pop()
        if one is array:
            return True
        if id(one) not in seen and not isinstance(one, type) and not callable(one):
            seen.add(id(one))
            coming += gc.get_referents(one)
    return False


@pytest.mark.parametrize(("size", "share"), [(1, 1.0), (2, 0.51), (4, 0.26)])
def test_classifiers_and_moments_are_divided_and_saved_in_bounded_blocks(
    size: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world_module, "BLOCK_BYTES", 1 << 16)
    negatives_NS = np.zeros((NUM_TEXTS, NUM_NEGATIVES), np.int32)
    held = 0
    for rank in range(size):
        world = Counting(rank, size)
        task = make_task(world, negatives_NS)
        own = tensor_bytes(dict(task.state()))
        held += own
        for state in (task.state(), task.learnt()):
            for one in state.values():
                if isinstance(one, SplitRows):
                    one.gather(lambda block: None)
        assert own + world.largest_block <= share * 3 * CLASSIFIER_BYTES + 64 + (1 << 16)
        assert world.largest_block <= 1 << 16
        assert (world.largest_block > 0) == (size > 1)
        assert reachable(task, negatives_NS) == (rank == 0), "the others hold no negatives"
    assert held == pytest.approx(3 * CLASSIFIER_BYTES, abs=100)
