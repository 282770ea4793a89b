"""From numpy to the training device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class DeviceError(Exception):
    """A device that this machine does not have."""


def seeded(*seed: int) -> torch.Generator:
    """A source of random numbers on the CPU; every other tuple gives others."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """`array` on `device`, integers as int64: what torch wants of an index."""
    if array.dtype.kind == "i":
        array = array.astype(np.int64, copy=False)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # only then does the copy run beside the GPU's work
    return tensor.to(device, non_blocking=True)


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What the large matrix products compute in: for `auto`, bfloat16 where the hardware multiplies it natively.

    There it is several times as fast; elsewhere it is emulated and slower than float32.
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
    """The device called `name`; `auto` is the first GPU where there is one.

    Raises:
        DeviceError: no such device on this machine.
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
