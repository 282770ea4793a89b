"""Several processes that train together, started by `torchrun`; they use gloo between CPUs and NCCL between GPUs.

Each process has one GPU. Module I splits the texts of a batch; Modules III and IV and the re-ranker split the labels
(`astec.trainer.parallel.world.Mesh`). Everything else is done once, by the first process. If a process fails, torchrun
stops all of them; if it does not, the others fail with `PeerError` as soon as they communicate with that process.
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
from numpy.typing import NDArray
from torch import Tensor, distributed

from astec.export.console import console
from astec.trainer.numerics.device import DeviceError, pick_device
from astec.trainer.parallel.world import Arrays, World

# The first process may mine negatives for hours while the others wait for it. If it dies, torchrun
# ends them, not this timeout.
_TIMEOUT = timedelta(days=7)
_PIECE_BYTES = 1 << 30
_CPU = torch.device("cpu")


class PeerError(Exception):
    """Another process stopped or cannot be reached."""


class ProcessGroup(World):
    """All processes of torch's default process group, which must be initialised.

    Args:
        group: a group of all processes, for messages that do not mix with those of other groups; None: the default.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        super().__init__(distributed.get_rank(), distributed.get_world_size())
        self._group, self._alone = group, False
        self._apart: ProcessGroup | None = None

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the processes; all sums are computed at the same time."""
        with self._together():
            for work in [distributed.all_reduce(tensor, group=self._group, async_op=True) for tensor in tensors]:
                work.wait()

    def agree(self, answer: bool) -> bool:
        """Return the first process's answer on every process."""
        with self._together():
            answers = torch.tensor([answer])
            distributed.broadcast(answers, 0, group=self._group)
        return bool(answers)

    def share(self, compute: Callable[[], Arrays]) -> Arrays:
        """Run `compute` on the first process and return its result on every process."""
        computed = self._compute_alone(compute) if self.leads else {}
        with self._together():
            header: list[Any] = [[(name, array.dtype, array.shape) for name, array in computed.items()]]
            distributed.broadcast_object_list(header, 0, group=self._group, device=_CPU)
            arrays = {}
            for name, dtype, shape in header[0]:
                array = np.require(computed[name], requirements=["C", "W"]) if self.leads else np.empty(shape, dtype)
                for piece in _pieces(torch.from_numpy(array.reshape(-1).view(np.uint8))):
                    distributed.broadcast(piece, 0, group=self._group)
                arrays[name] = array
        return arrays

    def gather_rows(self, own_n: Tensor, num_rows: int, take: Callable[[Tensor], object]) -> None:
        """Pass all of `num_rows` split rows to `take` on the first process, in order, in blocks in main memory."""
        for block in self._blocks(num_rows, own_n):
            with self._together():
                all_b = self._receive_block(block, own_n)
            if self.leads:
                take(all_b)

    def scatter_rows(self, all_n: NDArray[Any] | None, own_n: Tensor) -> None:
        """Copy this process's rows into `own_n`, out of all rows, which only the first process has.

        Raises:
            ValueError: the rows are of another number than the processes have together.
        """
        (num_rows,) = self.share(lambda: {"rows": np.array([0 if all_n is None else len(all_n)])})["rows"].tolist()
        if len(range(num_rows)[self.own]) != len(own_n):
            raise ValueError(f"of {num_rows} rows this process does not own {len(own_n)}")
        for block in self._blocks(num_rows, own_n):
            with self._together():
                self._send_block(
                    None if all_n is None else torch.from_numpy(all_n[block]), own_n[self._own_rows(block)]
                )

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.sum_(torch.zeros(1))

    def apart(self) -> ProcessGroup:
        """Return the same processes with messages of their own between main memories; always the same ones."""
        if self._apart is None:
            with self._together():
                self._apart = ProcessGroup(distributed.new_group(backend="gloo", timeout=_TIMEOUT))
        return self._apart

    def _own_rows(self, block: slice) -> slice:
        """Return where this process's rows of a block of all rows lie among its own rows."""
        return slice(block.start // self.size, -(-(block.stop - self.rank) // self.size))

    def _receive_block(self, block: slice, own_n: Tensor) -> Tensor:
        """Return a block of all rows on the first process; the others send their rows of it, and return them."""
        own_b = own_n[self._own_rows(block)].cpu().contiguous()
        if not self.leads:
            if len(own_b):
                distributed.send(own_b, 0, group=self._group)
            return own_b
        all_b = own_b.new_empty(block.stop - block.start, *own_b.shape[1:])
        all_b[:: self.size] = own_b
        for rank in range(1, min(self.size, len(all_b))):
            theirs = all_b[rank :: self.size]
            received = theirs.new_empty(theirs.shape)
            distributed.recv(received, rank, group=self._group)
            theirs.copy_(received)
        return all_b

    def _send_block(self, all_b: Tensor | None, own_b: Tensor) -> None:
        """Send each process its rows of a block, which the first process has; copy this process's into `own_b`."""
        if all_b is None:
            received = torch.empty(own_b.shape, dtype=own_b.dtype)
            if len(received):
                distributed.recv(received, 0, group=self._group)
            own_b.copy_(received)
            return
        for rank in range(1, min(self.size, len(all_b))):
            distributed.send(all_b[rank :: self.size].contiguous(), rank, group=self._group)
        own_b.copy_(all_b[:: self.size])

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
    """Join the processes that torchrun started, if any, and yield them with this process's device.

    Only the first process prints from then on.

    Args:
        device_name: auto, cpu or cuda; for a process on its own also one GPU, such as cuda:1.

    Raises:
        DeviceError: no such device, or fewer GPUs than processes on this machine.
        PeerError: another process stopped; raised inside the context or on leaving it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(), pick_device(device_name)
        return
    device = _local_device(device_name, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=_TIMEOUT, device_id=device)
    else:
        # torchrun gives each process its share of the CPUs by OMP_NUM_THREADS, which numba ignores.
        numba.set_num_threads(min(torch.get_num_threads(), numba.get_num_threads()))
        distributed.init_process_group("gloo", timeout=_TIMEOUT)
    world = ProcessGroup()
    console.quiet = not world.leads
    try:
        yield world, device
    except BaseException:
        if device.type != "cuda":  # NCCL would wait for processes that may have ended; torchrun ends them all
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def _local_device(name: str, local_rank: int) -> torch.device:
    """Return the device of the process with number `local_rank` on this machine."""
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
    """Split a contiguous tensor into views that each fit into one message; an empty tensor has none."""
    if tensor.numel() == 0:
        return ()
    return torch.split(tensor.view(-1), _PIECE_BYTES // tensor.element_size())
