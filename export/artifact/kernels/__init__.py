"""Building blocks that several numba kernels share."""
