"""The histograms of signals in an artifact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.signals.histograms import (
    SIGNALS_FILE,
    SignalHistogram,
    count_signals,
    open_histograms,
    save_histograms,
)
from astec.export.artifact.signals.query_signals import BOUNDS, SIGNALS


def test_a_bound_belongs_to_the_bin_below_it_and_nan_to_none() -> None:
    values = np.array([0.0, 0.5, 0.50001, 1.0, 7.0, np.nan])
    assert SignalHistogram.of(values, (0.5, 1.0)).counts == [2, 2, 1]


def test_only_signals_of_enough_queries_are_counted() -> None:
    signals_N3 = np.full((4, len(SIGNALS)), np.nan)
    signals_N3[:, 1] = [0.0, 0.2, 0.21, 1.0]
    signals_N3[:3, 2] = [0.0, 1.0, 2.3]
    found = count_signals(signals_N3, min_values=4)
    assert list(found) == ["top_score"]
    assert found["top_score"].bounds == list(BOUNDS["top_score"])
    assert sum(found["top_score"].counts) == 4
    assert set(count_signals(signals_N3, min_values=3)) == {"top_score", "entropy"}


def test_histograms_read_back_as_they_were_written(tmp_path: Path) -> None:
    signals_N3 = np.random.default_rng(0).random((50, len(SIGNALS)))
    histograms = count_signals(signals_N3, min_values=1)
    assert set(histograms) == set(SIGNALS)
    save_histograms(tmp_path, histograms)
    assert open_histograms(tmp_path) == histograms


def test_a_signal_of_a_later_version_is_no_error(tmp_path: Path) -> None:
    (tmp_path / SIGNALS_FILE).write_text(json.dumps({"surprise": {"bounds": [1], "counts": [1, 2]}}))
    assert open_histograms(tmp_path)["surprise"].counts == [1, 2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "does not hold histograms of signals"),
        ("[]", "does not hold histograms of signals"),
        ('{"entropy": {"bounds": [1.0], "counts": [1]}}', "there are 1 bounds but 1 counts"),
        ('{"entropy": {"bounds": [1.0, 1.0], "counts": [1, 2, 3]}}', "the bounds do not ascend"),
        ('{"entropy": {"bounds": [1.0], "counts": [1, -1]}}', "greater than or equal to 0"),
        ('{"entropy": {"bounds": [NaN], "counts": [1, 1]}}', "finite number"),
        ('{"entropy": {"bounds": [], "counts": [1]}}', "at least 1 item"),
        ('{"entropy": {"bounds": [1.0], "counts": [1, 1], "more": 1}}', "not permitted"),
        ("[" * 10_000, "does not hold histograms of signals"),
        (" " * 70_000, "has 70000 bytes, more than 65536"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / SIGNALS_FILE).write_text(content)
    with pytest.raises(ValueError, match=SIGNALS_FILE) as caught:
        open_histograms(tmp_path)
    assert problem in str(caught.value)
