"""Environment variables that stop libraries from starting threads of their own.

A process with several threads cannot be forked, and threads of libraries would compete with the inference threads.
"""

from __future__ import annotations

import os

# The telemetry of onnxruntime, which reports to its makers, has a thread of its own.
_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


def forbid_library_threads() -> None:
    """Set the environment variables. Call it before numpy or onnxruntime is imported: they are read only then."""
    os.environ.update(_VARIABLES)
