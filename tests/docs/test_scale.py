"""The arithmetic of the page about scale."""

from __future__ import annotations

from math import log10

import pytest

from tests.docs.test_reference import rows_of

ARTIFACTS_SHARE = 0.9
CORES, TIMED_US, HTTP_US = 0.35, 127, 60
MILLION_US, GROWTH = 183, 1.52
BYTES_PER_LABEL = (1446 + 2 * 230, 2277 + 2 * 359)


def test_label_counts_follow_from_bytes_per_label_and_point() -> None:
    rows = rows_of("docs/scale.md", "| artifact | bytes per label |")
    assert len(rows) == 6
    for _, per_label, per_point, points_per_label, *fitting in rows:
        each = int(per_label) + int(points_per_label) * int(per_point)
        expected = [f"{ARTIFACTS_SHARE * memory_gb * 1e3 / each:.1f}" for memory_gb in (64, 128, 512)]
        assert fitting == expected, each


def test_cores_and_memory_follow_from_the_benchmarks() -> None:
    rows = rows_of("docs/scale.md", "| labels | t, us |")
    assert len(rows) == 5
    for labels, t, cores, *memory_gb in rows:
        number, _, unit = labels.partition(" ")
        millions = float(number.replace(",", "")) / (1 if unit else 1e6)
        time_us = float(t.split()[0])
        if millions >= 1:
            assert time_us == pytest.approx(MILLION_US * GROWTH ** log10(millions), abs=1)
        assert float(cores) == pytest.approx(CORES * (time_us + HTTP_US) / (TIMED_US + HTTP_US), abs=0.006)
        for given, each in zip(memory_gb, BYTES_PER_LABEL, strict=True):
            assert float(given) == pytest.approx(millions * each / 1e3, rel=0.07)
