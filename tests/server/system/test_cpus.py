"""The number of CPUs that a process may use."""

import os
from pathlib import Path

import pytest

from astec.server.system.cpus import usable_cpus

AFFINITY = len(os.sched_getaffinity(0))


def test_without_a_quota_all_allowed_cpus_count(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == AFFINITY
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == AFFINITY


@pytest.mark.parametrize(("quota", "cpus"), [("100000 100000", 1), ("50000 100000", 1), ("199999 100000", 1)])
def test_a_quota_of_version_2_counts_in_whole_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cpus(tmp_path) == cpus


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{(AFFINITY + 1) * 100_000} 100000\n")
    assert usable_cpus(tmp_path) == AFFINITY


@pytest.mark.parametrize(("quota_us", "cpus"), [("-1", AFFINITY), ("100000", 1)])
def test_a_quota_of_version_1_counts_too(tmp_path: Path, quota_us: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == cpus
