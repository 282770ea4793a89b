"""An emulated accelerator: it shows, on a machine without a GPU, how training would use one.

Tensors on the device `emulated` keep their numbers in main memory. As on a GPU, they do not mix with the CPU's tensors.
`COUNTS` has what a GPU would have done: kernels, bytes that they move, copies from and to main memory, and the places
where the host would have waited for the device.

torch has one such device in a process, and it cannot be removed: use it in a process of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "emulated"
TRAINER = f"{Path('astec', 'trainer')}/"

ALLOCATIONS = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"}
FACTORIES = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "randperm", "randperm.generator")
"""The factories that torch makes of an empty tensor which it then resizes; the size of ours is fixed."""
GATHERS = {"index", "index_select", "gather", "embedding"}
SCATTERS = {"index_put", "index_put_", "_index_put_impl_", "index_copy", "index_copy_", "index_add", "index_add_"} | {
    "scatter_",
    "scatter_add_",
    "scatter_reduce_",
}
UNKNOWN_SIZES = {"nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
"""The operations whose result has a size that the host has to ask the device for."""
ANSWERS = {"_local_scalar_dense", "equal", "is_nonzero"}
"""The operations that return a number to the host."""


@dataclass
class Counts:
    """The work of the device so far, each by the name of its operation.

    Attributes:
        kernels: operations that start a kernel.
        bytes_moved: bytes that the kernels read and write in the device's memory.
        uploads, downloads: copies from and to main memory.
        waits: waits of the host, with the line of the trainer that caused them.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    bytes_moved: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def reset(self) -> None:
        for counter in (self.kernels, self.bytes_moved, self.uploads, self.downloads, self.waits):
            counter.clear()

    def kernel(self, name: str, num_bytes: int) -> None:
        with self._lock:
            self.kernels[name] += 1
            self.bytes_moved[name] += num_bytes

    def copy(self, copies: Counter[str], name: str) -> None:
        with self._lock:
            copies[name] += 1

    def wait(self, name: str) -> None:
        with self._lock:
            self.waits[f"{name} at {_place()}"] += 1


COUNTS = Counts()


class EmulatedTensor(Tensor):
    """A tensor of the device; `raw` has its numbers, or only their shape where it is a tensor of the device `meta`."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> EmulatedTensor:
        made: EmulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        return made

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw

    def __repr__(self) -> str:  # type: ignore[override]
        return f"EmulatedTensor({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})


def install() -> None:
    """Add the device to this process, for good."""
    _setup_privateuseone_for_python_backend(NAME)
    _LIBRARIES.append(torch.library.Library("_", "IMPL"))
    _LIBRARIES[-1].fallback(lambda function, *args, **kwargs: _run(function, args, kwargs), "PrivateUse1")
    _LIBRARIES.append(torch.library.Library("aten", "IMPL"))
    for name in FACTORIES:
        packet, _, overload = name.partition(".")
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")
        _LIBRARIES[-1].impl(name, partial(_make, function), "PrivateUse1")


_LIBRARIES: list[torch.library.Library] = []
"""Registrations end with these objects."""


def shape_only(*shape: int, dtype: torch.dtype = torch.float32) -> EmulatedTensor:
    """Return a tensor without numbers, of any size: operations on such tensors cost nothing and are counted."""
    return EmulatedTensor(torch.empty(shape, dtype=dtype, device="meta"))


def _make(function: OpOverload, *args: Any, **kwargs: Any) -> Any:
    return _run(function, args, kwargs)


def _run(function: OpOverload, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the numbers of its tensors, and count it."""
    name = function._schema.name.removeprefix("aten::")
    if name == "copy_":
        return _copy(*args, **kwargs)
    to = kwargs.get("device")
    own = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, EmulatedTensor)]
    if name == "_to_copy" and to is not None and not _is_ours(to):
        COUNTS.copy(COUNTS.downloads, name)
        COUNTS.wait("copy to main memory")
    else:
        _check_operands(name, [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)])
    rest = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")}
    if to is not None:
        rest["device"] = own[0].raw.device if own else "cpu"
    out = function(*tree_map(_raw, args), **tree_map(_raw, rest))
    if to is not None and not _is_ours(to):
        return out
    known = {id(tensor.raw): tensor for tensor in own}  # an operation in place returns the tensor itself

    def wrap(leaf: Any) -> Any:
        return known[id(leaf)] if id(leaf) in known else EmulatedTensor(leaf) if isinstance(leaf, Tensor) else leaf

    wrapped = tree_map(wrap, out)
    if not _is_view(function, name):
        COUNTS.kernel(
            name, _bytes_moved(name, own, [leaf for leaf in tree_leaves(wrapped) if isinstance(leaf, Tensor)])
        )
    return wrapped


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy numbers, as `copy_`: only from the CPU to the device, and only if asked to, does the host not wait."""
    _raw(target).copy_(_raw(source))
    ours = isinstance(target, EmulatedTensor), isinstance(source, EmulatedTensor)
    if all(ours):
        COUNTS.kernel("copy_", _num_bytes(target) + _num_bytes(source))
    elif ours[0]:
        COUNTS.copy(COUNTS.uploads, "copy_")
        if not non_blocking:
            COUNTS.wait("copy from main memory")
    else:
        COUNTS.copy(COUNTS.downloads, "copy_")
        COUNTS.wait("copy to main memory")
    return target


def _check_operands(name: str, tensors: list[Tensor]) -> None:
    """Refuse tensors of two devices, as CUDA does, and count the wait of an operation that makes the host wait.

    Raises:
        RuntimeError: tensors of the device and of the CPU; a single number on the CPU is allowed.
    """
    ours = [tensor for tensor in tensors if isinstance(tensor, EmulatedTensor)]
    foreign = [tensor for tensor in tensors if not isinstance(tensor, EmulatedTensor) and tensor.dim()]
    indexes = name.startswith(("index", "_index"))
    if ours and foreign:
        if not (indexes and isinstance(tensors[0], EmulatedTensor) and not any(map(torch.is_floating_point, foreign))):
            shapes = [tuple(tensor.shape) for tensor in foreign]
            raise RuntimeError(f"{name} has tensors on {NAME} and on the CPU, the latter of shapes {shapes}")
        COUNTS.wait(f"{name} with an index in main memory")
    by_mask = indexes and any(tensor.dtype == torch.bool for tensor in ours[1:])
    if ours and (by_mask or name in UNKNOWN_SIZES | ANSWERS or name.startswith("_linalg")):
        COUNTS.wait(name)


def _is_view(function: OpOverload, name: str) -> bool:
    """Return True for an operation without a kernel: a view, or an allocation."""
    alias = function._schema.returns[0].alias_info if function._schema.returns else None
    return name in ALLOCATIONS | {"_unsafe_view", "_reshape_alias"} or (alias is not None and not alias.is_write)


def _bytes_moved(name: str, inputs: list[EmulatedTensor], outputs: list[Tensor]) -> int:
    """Estimate what a kernel reads and writes; of a table that is indexed it touches only the rows of the indices."""
    if name in GATHERS:
        return 2 * sum(map(_num_bytes, outputs)) + sum(map(_num_bytes, inputs[1:]))
    if name in SCATTERS:
        return 3 * max(map(_num_bytes, inputs[1:]), default=0)
    return sum(map(_num_bytes, inputs)) + sum(map(_num_bytes, outputs))


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _raw(leaf: Any) -> Any:
    return leaf.raw if isinstance(leaf, EmulatedTensor) else leaf


def _is_ours(device: Any) -> bool:
    return torch.device(device).type == NAME


def _place() -> str:
    """Return file and line of the innermost call in the trainer."""
    frame = sys._getframe(1)
    while frame.f_back is not None and TRAINER not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
