"""What the machine has: the system's figures, limits of control groups, and the disk of a folder that may not exist."""

import shutil
from pathlib import Path

import pytest
import torch

from astec.trainer.planning.machine import Capacity, available_memory, disk_space, resident_bytes

MIB = 2**20


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/meminfo", "MemTotal:       4096 kB\nMemFree:        10 kB\nMemAvailable:   2048 kB\n")
    return tmp_path


def test_the_system_says_what_is_available(root: Path) -> None:
    assert available_memory(root) == 2 * MIB


def test_a_system_that_does_not_say_is_unknown(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    assert resident_bytes(tmp_path) == 0


def test_the_tightest_control_group_of_version_2_counts(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/box/job\n")
    write(root / "sys/fs/cgroup/box/memory.max", f"{MIB}\n")
    write(root / "sys/fs/cgroup/box/memory.current", f"{MIB // 2}\n")
    write(root / "sys/fs/cgroup/box/memory.stat", "anon 5\nactive_file 7\ninactive_file 1024\n")
    write(root / "sys/fs/cgroup/box/job/memory.max", "max\n")
    write(root / "sys/fs/cgroup/box/job/memory.current", "100\n")
    assert available_memory(root) == MIB // 2 + 1024


def test_a_group_that_is_mounted_at_the_top_counts(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/elsewhere/outside\n")
    write(root / "sys/fs/cgroup/memory.max", f"{MIB}\n")
    write(root / "sys/fs/cgroup/memory.current", f"{2 * MIB}\n")
    assert available_memory(root) == 0


def test_a_control_group_of_version_1_counts(root: Path) -> None:
    write(root / "proc/self/cgroup", "9:cpu,cpuacct:/x\n5:memory:/job\n")
    write(root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{MIB}\n")
    write(root / "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1000\n")
    write(root / "sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 600\ninactive_file 1\n")
    assert available_memory(root) == MIB - 400


def test_a_group_without_a_limit_leaves_what_the_system_has(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/memory.max", "max\n")
    write(root / "sys/fs/cgroup/memory.current", "100\n")
    assert available_memory(root) == 2 * MIB


def test_the_files_of_a_run_count_as_space_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path.exists() else None)
    assert disk_space(tmp_path / "not" / "yet") == usage.free
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "negatives").write_bytes(bytes(range(256)) * 4096)
    assert disk_space(tmp_path) - usage.free == pytest.approx(MIB, rel=0.1)


def test_this_machine_has_something() -> None:
    capacity = Capacity.of(torch.device("cpu"), Path(), loaded_bytes=MIB)
    assert capacity.gpu_bytes is None
    assert capacity.disk_bytes >= 0
    assert capacity.host_bytes is None or capacity.host_bytes > MIB
