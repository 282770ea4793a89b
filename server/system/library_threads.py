"""Threads that libraries start unasked: none, so that processes can be forked and inference threads have no rivals."""

from __future__ import annotations

import os

# onnxruntime's is one that reports to its makers.
_NONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


def forbid_library_threads() -> None:
    """Tell numpy's and onnxruntime's libraries, which look at the environment when they are loaded: call it before."""
    os.environ.update(_NONE)
