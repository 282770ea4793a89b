"""The training device: choosing it, and moving numpy arrays to it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST_PINNED_BYTES = 1 << 26


class DeviceError(Exception):
    """A device that cannot be used on this machine."""


def seeded(*seed: int) -> torch.Generator:
    """Return a source of random numbers on the CPU; another tuple of seeds gives other numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def is_accelerator(device: torch.device) -> bool:
    """Return True for any device but the CPU: it works on its own, and the host should seldom wait for it."""
    return device.type != "cpu"


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy `array` to `device`; integers become int64, which torch requires of indices.

    The copy of an array of a batch overlaps with a GPU's work. An array of more than 64 MiB has been read when this
    returns: CUDA's driver copies it through a small pinned buffer of its own. If torch pinned the array itself, the
    next power of two of bytes would stay occupied in main memory until the process ends.
    """
    if array.dtype.kind == "i":
        array = array.astype(np.int64, copy=False)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda" and tensor.nbytes <= _MOST_PINNED_BYTES:
        tensor = tensor.pin_memory()  # the copy can overlap with the GPU's work only from pinned memory
    return tensor.to(device, non_blocking=True)


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number type of the large matrix products: for `auto`, bfloat16 if the hardware multiplies it natively.

    Native bfloat16 is several times as fast as float32; emulated bfloat16 is slower.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU if there is one, else the CPU.

    Raises:
        DeviceError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}. Use auto, cpu or cuda"
        ) from error
    return device
