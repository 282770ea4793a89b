"""The machine and the versions with which figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SERVING_LIBRARIES = ("numpy", "numba", "hnswlib", "onnxruntime", "uvicorn", "uvloop", "httptools", "starlette")
_GIB = 1 << 30


def describe_machine(
    libraries: Iterable[str] = SERVING_LIBRARIES, users: str = ", shared with the load generator"
) -> str:
    """Return Markdown list items, a line each: hardware, system and libraries, and the commit.

    Args:
        libraries: names of the packages whose versions matter; those that are not installed are left out.
        users: what else uses the CPUs, to follow their number.
    """
    versions = ", ".join(_versions(libraries))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return (
        f"- hardware: {_cpu_model()}, {len(os.sched_getaffinity(0))} usable CPUs{users}; "
        f"{memory_gib:.0f} GiB\n"
        f"- system: {platform.system()} {platform.release()}; Python {platform.python_version()}; {versions}\n"
        f"- commit: {commit()}\n"
    )


def commit() -> str:
    """Return git's name for the commit of the code in the current folder; unknown without git or its folder."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"


def _versions(libraries: Iterable[str]) -> Iterator[str]:
    for name in libraries:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
