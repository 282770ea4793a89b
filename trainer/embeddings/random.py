"""Random embeddings, the default start of training."""

from __future__ import annotations

import torch
from torch import Tensor


def random_embeddings(num_rows: int, dim: int, generator: torch.Generator) -> Tensor:
    """Draw embeddings [V, D] with rows of about unit norm."""
    return torch.randn(num_rows, dim, generator=generator).mul_(dim**-0.5)
