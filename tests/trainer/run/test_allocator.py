"""Memory that is given back to the system, measured in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from astec.trainer.run import allocator

MIB_HELD = """
import numpy as np
from pathlib import Path
from astec.trainer.run.allocator import return_freed_memory, return_large_blocks

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256

def make_and_free(mib):
    np.ones(mib << 17)  # glibc keeps freed blocks of this size from now on
    kept = []
    for _ in range(400 // mib):
        kept.append((np.ones(mib << 17), np.ones(2000)))
    return [small for _, small in kept]

before = resident_mib()
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")


def held_mib(code: str) -> int:
    """Return the MiB that a process prints after some code."""
    printed = subprocess.run(
        [sys.executable, "-c", f"{MIB_HELD}{code}\nprint(resident_mib() - before)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(printed.stdout)


@pytest.mark.slow
@needs_glibc
def test_freed_memory_goes_back() -> None:
    assert held_mib("small = make_and_free(8)") > 300, "glibc keeps it by itself"
    assert held_mib("small = make_and_free(8); return_freed_memory()") < 100


@pytest.mark.slow
@needs_glibc
def test_large_blocks_go_back_as_soon_as_they_are_freed() -> None:
    assert held_mib("small = make_and_free(20)") > 300, "glibc keeps it by itself"
    assert held_mib("return_large_blocks(); small = make_and_free(20)") < 100


def test_a_c_library_without_the_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allocator._c_function("no_such_function") is None
    monkeypatch.setattr(allocator, "_c_function", lambda _: None)
    allocator.return_large_blocks()
    allocator.return_freed_memory()
