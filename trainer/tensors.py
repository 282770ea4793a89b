"""From numpy to the training device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """`array` on `device`, integers as int64: what torch wants of an index."""
    if array.dtype.kind == "i":
        array = array.astype(np.int64, copy=False)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first GPU where there is one.

    Raises:
        ValueError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}. Use auto, cpu or cuda"
        ) from error
    return device
