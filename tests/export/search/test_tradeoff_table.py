"""The trials as tables in a terminal and in a model card, and as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from astec.export.artifact.index.base import HnswParams
from astec.export.search.judge import Figures
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.export.search.tradeoff_plot import draw_tradeoff
from astec.export.search.tradeoff_table import tradeoff_markdown, tradeoff_table
from astec.export.search.trial import Trial


def trial(
    neighbours: int,
    precision: float,
    cost_us: float,
    index: str = "exact",
    search_us: float | None = None,
    max_candidates: int | None = None,
) -> Trial:
    plan = ShortlistPlan(32, None, IndexPlan("hnswlib", HnswParams(16, 200, 40), neighbours), max_candidates)
    metrics = {f"{name}@{k}": precision for name in ("P", "PSP") for k in (1, 3, 5)}
    losses_2R = np.array([[70.25 - precision], [80 - precision]])
    return Trial(plan, index, Figures(metrics, 51.4), cost_us, search_us, losses=losses_2R)


EVERYTHING = Trial(None, "exact", Figures({f"{name}@{k}": 70.25 for name in ("P", "PSP") for k in (1, 3, 5)}, 999), 5e3)
CHOSEN = trial(20, 70.1, 21, "hnswlib", 31.6)
AS_TRAINED = trial(300, 60, 99)
TRIALS = [
    EVERYTHING,
    AS_TRAINED,
    trial(10, 69, 11),
    trial(15, 68, 12),
    trial(20, 70.2, 20),
    CHOSEN,
    trial(30, 69.9, 33, "hnswlib", 44),
    trial(30, 69.8, 32, "hnswlib", 43, max_candidates=64),
]


def test_a_row_for_each_trial_that_is_not_beaten_outright() -> None:
    """The table is complete even in a narrow terminal."""
    console = Console(width=40)
    with console.capture() as capture:
        console.print(tradeoff_table(TRIALS, CHOSEN, (0.08, 0.312)), soft_wrap=True)
    printed = [" ".join(line.split()) for line in capture.get().splitlines()]
    assert "all labels all exact 999 70.25 70.25 70.25 70.25 70.25 5000" in printed
    assert "points 32 300 exact 51 60.00 60.00 60.00 60.00 60.00 10.25 20.00 99" in printed, (
        "what others are compared with"
    )
    assert "points 32 10 exact 51 69.00 69.00 69.00 69.00 69.00 1.25 11.00 11" in printed
    assert "points 32 20 hnswlib 16 40 51 70.10 70.10 70.10 70.10 70.10 0.15 9.90 21 32" in printed
    assert "points 32 30 hnswlib 16 40 51 69.90 69.90 69.90 69.90 69.90 0.35 10.10 33 44" in printed
    assert "points 32 30 hnswlib 16 40 64 51 69.80 69.80 69.80 69.80 69.80 0.45 10.20 32 43" in printed
    assert not any(row.startswith("points 32 15") for row in printed), "which costs more than 10 and finds less"
    told = "On texts that did not choose it, the chosen way is expected to lose 0.08 points of P@k and 0.31 of PSP@k."
    assert told in " ".join(printed)


def test_the_chosen_one_is_marked() -> None:
    console = Console(width=200, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(tradeoff_table(TRIALS, CHOSEN, (0.08, 0.312)), soft_wrap=True)
    marked = [line for line in capture.get().splitlines() if "\x1b[1;32m" in line]
    assert len(marked) == 1
    assert "70.10" in marked[0]


def test_a_model_card_tells_no_times() -> None:
    card = tradeoff_markdown(TRIALS)
    header, line, *body = card.splitlines()
    assert header.startswith("| shortlist | dim | neighbours | index |")
    assert set(line) == set("|- ")
    assert (
        "| points | 32 | 20 | hnswlib | 16 | 40 |  | 51 | 70.10 | 70.10 | 70.10 | 70.10 | 70.10 | 0.15 | 9.90 |" in body
    )
    assert (
        "| points | 32 | 30 | hnswlib | 16 | 40 | 64 | 51 | 69.80 | 69.80 | 69.80 | 69.80 | 69.80 | 0.45 | 10.20 |"
        in body
    )
    assert {row.count("|") for row in (header, line, *body)} == {16}
    assert "31.6" not in card
    assert "32 |" not in body[-1].removeprefix("| points | 32 |")


def test_a_picture_is_written(tmp_path: Path) -> None:
    draw_tradeoff(TRIALS, CHOSEN, tmp_path / "tradeoff.png")
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tradeoff\.png"):
        draw_tradeoff(TRIALS, CHOSEN, tmp_path / "missing" / "tradeoff.png")
