"""The threads of work that one process does on its own."""

import os

import torch

from astec.trainer.parallel.threads import lone_threads
from astec.trainer.parallel.world import ALONE, World


def test_only_a_process_among_several_takes_all_cpus() -> None:
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert lone_threads(ALONE) == 1
        assert lone_threads(World(0, 2)) == len(os.sched_getaffinity(0))
    finally:
        torch.set_num_threads(num_threads)
