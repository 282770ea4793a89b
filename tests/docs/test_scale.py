"""The arithmetic of the page about scale."""

from __future__ import annotations

from tests.docs.test_reference import rows_of

ARTIFACTS_SHARE = 0.9


def test_label_counts_follow_from_bytes_per_label_and_point() -> None:
    rows = rows_of("docs/scale.md", "| artifact | bytes per label |")
    assert len(rows) == 6
    for _, per_label, per_point, points_per_label, *fitting in rows:
        each = int(per_label) + int(points_per_label) * int(per_point)
        expected = [f"{ARTIFACTS_SHARE * memory_gb * 1e3 / each:.1f}" for memory_gb in (64, 128, 512)]
        assert fitting == expected, each
