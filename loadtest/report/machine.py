"""The machine and the versions with which figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("numpy", "numba", "hnswlib", "onnxruntime", "uvicorn", "uvloop", "httptools", "starlette")
_GIB = 1 << 30


def describe_machine() -> str:
    """Return Markdown list items, a line each: hardware, system and libraries, and the commit."""
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return (
        f"- hardware: {_cpu_model()}, {len(os.sched_getaffinity(0))} usable CPUs, shared with the load generator; "
        f"{memory_gib:.0f} GiB\n"
        f"- system: {platform.system()} {platform.release()}; Python {platform.python_version()}; {versions}\n"
        f"- commit: {commit()}\n"
    )


def commit() -> str:
    """Return git's name for the commit of the code in the current folder."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
