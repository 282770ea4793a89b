"""The threads of work that one process does on its own."""

from __future__ import annotations

import os

import torch

from astec.trainer.parallel.world import World


def lone_threads(world: World) -> int:
    """Return the number of threads for work that the first process does while the others wait, or have ended.

    A process on its own keeps to the number that torch has from OMP_NUM_THREADS. torchrun sets that to 1 for every
    process, so that they share the CPUs of the machine: where only one of them works, it may use all of these.
    """
    return torch.get_num_threads() if world.size == 1 else len(os.sched_getaffinity(0))
