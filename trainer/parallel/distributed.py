"""Several processes that train together, started by `torchrun`: gloo between CPUs, NCCL between GPUs, one GPU each.

Module I splits the texts of a batch, Modules III and IV and the re-ranker split the labels (see
`astec.trainer.parallel.world.Mesh`). Everything else is done once, by the first process. One that fails makes torchrun
stop all; where it does not, the others learn of it as soon as they talk to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, distributed

from astec.export.console import console
from astec.trainer.numerics.device import DeviceError, pick_device
from astec.trainer.parallel.world import Arrays, World

# The first process may mine and index for hours before it talks to those that wait for it; torchrun, not this limit,
# ends them if it dies.
_TIMEOUT = timedelta(days=7)
_PIECE_BYTES = 1 << 30
_CPU = torch.device("cpu")


class PeerError(Exception):
    """Another process stopped or cannot be reached."""


class ProcessGroup(World):
    """Processes of torch's default process group, which must be initialised."""

    def __init__(self) -> None:
        super().__init__(distributed.get_rank(), distributed.get_world_size())
        self._alone = False

    def sum_(self, *tensors: Tensor) -> None:
        """See `World.sum_`; all of them are under way at once."""
        with self._together():
            for work in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def agree(self, answer: bool) -> bool:
        """See `World.agree`."""
        with self._together():
            answers = torch.tensor([answer])
            distributed.broadcast(answers, 0)
        return bool(answers)

    def share(self, compute: Callable[[], Arrays]) -> Arrays:
        """See `World.share`."""
        computed = self._compute_alone(compute) if self.leads else {}
        with self._together():
            header: list[Any] = [[(name, array.dtype, array.shape) for name, array in computed.items()]]
            distributed.broadcast_object_list(header, 0, device=_CPU)
            arrays = {}
            for name, dtype, shape in header[0]:
                array = np.require(computed[name], requirements=["C", "W"]) if self.leads else np.empty(shape, dtype)
                for piece in _pieces(torch.from_numpy(array.reshape(-1).view(np.uint8))):
                    distributed.broadcast(piece, 0)
                arrays[name] = array
        return arrays

    def gather_rows(self, own_n: Tensor, num_rows: int) -> Tensor:
        """See `World.gather_rows`; in main memory."""
        own_n = own_n.cpu().contiguous()
        with self._together():
            if not self.leads:
                for piece in _pieces(own_n):
                    distributed.send(piece, 0)
                return own_n[:0]
            all_n = own_n.new_empty(num_rows, *own_n.shape[1:])
            all_n[self.own] = own_n
            for rank in range(1, self.size):
                theirs = all_n[rank :: self.size]
                received = theirs.new_empty(theirs.shape)
                for piece in _pieces(received):
                    distributed.recv(piece, rank)
                theirs.copy_(received)
        return all_n

    def barrier(self) -> None:
        """See `World.barrier`."""
        self.sum_(torch.zeros(1))

    def _compute_alone(self, compute: Callable[[], Arrays]) -> Arrays:
        self._alone = True
        try:
            return compute()
        finally:
            self._alone = False

    @contextmanager
    def _together(self) -> Iterator[None]:
        if self._alone:
            raise RuntimeError("share() computes on one process only: it must not talk to the others, who are waiting")
        try:
            yield
        except RuntimeError as error:
            raise PeerError(
                f"another process of this training stopped, or cannot be reached ({str(error).splitlines()[0]}); it "
                "may have said why. What was saved is kept: go on with astec-train --resume RUN under torchrun"
            ) from error


@contextmanager
def join_world(device_name: str) -> Iterator[tuple[World, torch.device]]:
    """The processes that torchrun started, or this one alone, and the device of this one.

    All but the first are made to print no more.

    Args:
        device_name: auto, cpu or cuda; of one process also a single GPU, such as cuda:1.

    Raises:
        DeviceError: no such device, or fewer GPUs than processes on this machine.
        PeerError: on leaving or inside, once another process stopped.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(), pick_device(device_name)
        return
    device = _local_device(device_name, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=_TIMEOUT, device_id=device)
    else:
        # torchrun gives each process its share of the CPUs by OMP_NUM_THREADS, which numba does not look at.
        numba.set_num_threads(min(torch.get_num_threads(), numba.get_num_threads()))
        distributed.init_process_group("gloo", timeout=_TIMEOUT)
    world = ProcessGroup()
    console.quiet = not world.leads
    try:
        yield world, device
    except BaseException:
        if device.type != "cuda":  # NCCL would wait for the others, who may be gone; torchrun ends all
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def _local_device(name: str, local_rank: int) -> torch.device:
    """The device of a process, the `local_rank`-th on its machine."""
    kind = pick_device(name)
    if kind.type != "cuda":
        return kind
    if name not in ("auto", "cuda"):
        raise DeviceError(f"device {name!r} is one GPU for all processes; use cuda, which gives each its own")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise DeviceError(
            f"process {local_rank} of this machine has no GPU: there are {count}; start as many with torchrun "
            f"--nproc-per-node {count}"
        )
    return torch.device("cuda", local_rank)


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """Views of a contiguous tensor small enough for one message; none where it is empty."""
    if tensor.numel() == 0:
        return ()
    return torch.split(tensor.view(-1), _PIECE_BYTES // tensor.element_size())
