"""Reading the history of a run."""

from pathlib import Path

import pytest

from astec.trainer.run.folder import HISTORY_FILE, Run
from astec.trainer.run.history import History, HistoryError
from astec.trainer.settings.config import TrainerConfig


def test_lines_come_back_as_they_were_recorded(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(TrainerConfig())
    run.record("surrogate", epoch=1, loss=0.5)
    run.record("graphs", points=3)
    history = History.read(tmp_path / HISTORY_FILE)
    assert [line["stage"] for line in history.lines] == ["surrogate", "graphs"]
    assert history.of_stage("graphs")[0]["points"] == 3


def test_an_epoch_done_again_counts_once() -> None:
    lines = [{"stage": "extreme", "epoch": epoch, "loss": loss} for epoch, loss in ((1, 0.9), (2, 0.8), (2, 0.7))]
    history = History((*lines, {"stage": "graphs", "points": 1}))
    assert {name: [line["loss"] for line in epochs] for name, epochs in history.epochs().items()} == {
        "extreme": [0.9, 0.7]
    }


def test_learners_of_several_seeds_are_told_apart() -> None:
    lines = [{"stage": "extreme", "epoch": 1, "loss": 0.1 * seed, "seed": seed} for seed in (1, 2)]
    history = History((*lines, {"stage": "reranker", "epoch": 1, "loss": 0.9, "seed": 1}))
    assert {name: [line["loss"] for line in epochs] for name, epochs in history.epochs().items()} == {
        "extreme, seed 1": [0.1],
        "extreme, seed 2": [0.2],
        "reranker": [0.9],
    }


def test_a_line_ends_the_time_since_the_line_before() -> None:
    times = (("surrogate", 2.0), ("surrogate", 5.0), ("graphs", 6.0), ("extreme", 1.5), ("extreme", 2.0))
    history = History(tuple({"stage": stage, "elapsed_s": elapsed_s} for stage, elapsed_s in times))
    assert history.stage_seconds() == {"surrogate": 5.0, "graphs": 1.0, "extreme": 2.0}, "the clock began again at 1.5"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"stage": "a", "elapsed_s": 1}\n{"stage": "b", "ela', r"history\.jsonl:2 is no JSON"),
        ('{"stage": "a"}\n', r"history\.jsonl:1 lacks stage or elapsed_s"),
        ("[1]\n", r"history\.jsonl:1 lacks stage or elapsed_s"),
    ],
)
def test_damage_is_named_by_its_line(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / HISTORY_FILE).write_text(content)
    with pytest.raises(HistoryError, match=complaint):
        History.read(tmp_path / HISTORY_FILE)


def test_a_missing_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"cannot read .*history\.jsonl: No such file.* folder of a training run"):
        History.read(tmp_path / HISTORY_FILE)
