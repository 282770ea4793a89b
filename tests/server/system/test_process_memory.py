"""A process's memory: resident, proportional, private and anonymous."""

import json
import os
import subprocess
import sys

import pytest

from astec.server.system.process_memory import process_memory

MIB = 1 << 20
# A process of its own: one that has threads, as that of the tests may, should not be forked.
FORKING = """
import json, mmap, os, signal
from dataclasses import astuple
from astec.server.system.process_memory import process_memory
seen = [astuple(process_memory(os.getpid()))]
pages = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE)
for page in range(0, len(pages), mmap.PAGESIZE):
    pages[page] = 1
seen.append(astuple(process_memory(os.getpid())))
if not (child := os.fork()):
    signal.pause()
seen.append(astuple(process_memory(os.getpid())))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_private_pages_are_told_from_shared_ones() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    before, alone, shared = json.loads(done.stdout)
    rss, pss, private, anonymous = range(4)
    for figure in (rss, pss, private, anonymous):
        assert alone[figure] - before[figure] >= 63 * MIB
    assert alone[private] - shared[private] >= 63 * MIB
    assert alone[pss] - shared[pss] >= 31 * MIB
    for figure in (rss, anonymous):
        assert abs(shared[figure] - alone[figure]) <= MIB


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(OSError, match="-1"):
        process_memory(-1)


def test_what_is_private_is_part_of_what_is_shared_out_and_that_of_all() -> None:
    memory = process_memory(os.getpid())
    assert 0 < memory.private_bytes <= memory.pss_bytes <= memory.rss_bytes
