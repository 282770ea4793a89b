"""Memory that is given back to the system, measured in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

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
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
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


@pytest.mark.slow
@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[never]" in HUGE_PAGES.read_text(), reason="the system gives no huge pages"
)
def test_large_tensors_take_huge_pages_and_few_page_faults() -> None:
    code = """
import resource, sys
from astec.trainer.run.allocator import return_large_blocks, use_huge_pages
if sys.argv[1:]:
    use_huge_pages()
import torch
return_large_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(16 << 20, dtype=torch.uint8).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def page_faults(*arguments: str) -> int:
        command = [sys.executable, "-c", code, *arguments]
        environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

    assert page_faults("huge") < page_faults() / 4


def test_a_c_library_without_the_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allocator._c_function("no_such_function") is None
    monkeypatch.setattr(allocator, "_c_function", lambda _: None)
    allocator.return_large_blocks()
    allocator.return_freed_memory()
