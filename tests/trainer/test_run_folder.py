"""The folder that a training run leaves."""

import json
from pathlib import Path

import pytest

from export.checkpoint import CHECKPOINT_FOLDER
from trainer.config import TrainerConfig, load_config
from trainer.run import CONFIG_FILE, HISTORY_FILE, Run, RunError


def test_a_finished_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FOLDER).mkdir()
    (tmp_path / CONFIG_FILE).touch()
    with pytest.raises(RunError, match="holds a finished run; choose another folder, or remove it"):
        Run(tmp_path)
    assert (tmp_path / CONFIG_FILE).read_text() == ""


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="is no run folder; choose another"):
        Run(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("precious")
    with pytest.raises(RunError, match="is no run folder"):
        Run(file)
    assert file.read_text() == "precious"


def test_nothing_is_made_before_the_run_begins(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    run = Run(folder)
    assert not folder.parent.exists()
    run.begin(TrainerConfig())
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, HISTORY_FILE}


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    Run(tmp_path).begin(TrainerConfig())
    assert (tmp_path / CONFIG_FILE).exists()


def test_an_unfinished_run_starts_over(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.begin(TrainerConfig(seed=1))
    first.record("surrogate", epoch=1)
    Run(tmp_path).begin(TrainerConfig(seed=2))
    assert load_config(tmp_path / CONFIG_FILE, []).seed == 2
    assert (tmp_path / HISTORY_FILE).read_text() == ""


def test_records_are_appended_as_json_lines(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(TrainerConfig())
    run.record("graphs", points=7)
    run.record("validation", alpha=0.5, name="Größe")
    lines = [json.loads(line) for line in (tmp_path / HISTORY_FILE).read_text().splitlines()]
    elapsed = [line.pop("elapsed_s") for line in lines]
    assert lines == [{"stage": "graphs", "points": 7}, {"stage": "validation", "alpha": 0.5, "name": "Größe"}]
    assert 0 <= elapsed[0] <= elapsed[1]


def test_a_trained_run_tells_every_stage_in_order(demo_run: Path) -> None:
    lines = [json.loads(line) for line in (demo_run / HISTORY_FILE).read_text().splitlines()]
    stages = list(dict.fromkeys(line["stage"] for line in lines))
    assert stages == ["clustering", "surrogate", "graphs", "mining", "extreme", "sparse", "validation"]
    shares = [step / 10 for step in range(11)]
    trials = [(line["gamma"], line["alpha"]) for line in lines if line["stage"] == "validation"]
    assert trials == [(gamma, alpha) for gamma in shares for alpha in shares]
    for stage in ("surrogate", "extreme"):
        losses = [line["loss"] for line in lines if line["stage"] == stage]
        assert losses[-1] < losses[0]
