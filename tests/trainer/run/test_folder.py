"""The run folder."""

import json
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER
from astec.trainer.parallel.world import Arrays
from astec.trainer.run.folder import CONFIG_FILE, HISTORY_FILE, ORIGIN_FILE, STAGES_FOLDER, Run, RunError, read_origin
from astec.trainer.run.history import History
from astec.trainer.run.origin import Fingerprint, Origin, settings_sha256
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import load_config

ORIGIN = Origin(
    data="/data/train.jsonl",
    skip_bad_lines=True,
    device="cpu",
    save_minutes=2.5,
    tensorboard=False,
    settings=settings_sha256(TrainerConfig()),
    fingerprint=Fingerprint(texts=7, labels="a", vocabulary="b", examples="c"),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", save_minutes=0)
    run.begin(TrainerConfig(), ORIGIN)
    return run


def test_a_finished_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FOLDER).mkdir()
    (tmp_path / CONFIG_FILE).touch()
    with pytest.raises(RunError, match="holds a finished run; choose another folder, or remove it"):
        Run(tmp_path).begin(TrainerConfig())
    assert (tmp_path / CONFIG_FILE).read_text() == ""


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="is no run folder; choose another"):
        Run(tmp_path).require_free()
    assert list(tmp_path.iterdir()) == [tmp_path / "thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("precious")
    with pytest.raises(RunError, match="is no run folder"):
        Run(file).require_free()
    assert file.read_text() == "precious"


def test_nothing_is_made_before_the_run_begins(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    run = Run(folder)
    assert not folder.parent.exists()
    run.begin(TrainerConfig())
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, HISTORY_FILE, STAGES_FOLDER}


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    Run(tmp_path).begin(TrainerConfig())
    assert (tmp_path / CONFIG_FILE).exists()


def test_an_unfinished_run_starts_over(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.begin(TrainerConfig(seeds=(1,)))
    first.record("surrogate", epoch=1)
    Run(tmp_path).begin(TrainerConfig(seeds=(2,)))
    assert load_config(tmp_path / CONFIG_FILE, []).seeds == (2,)
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
    stages = [*dict.fromkeys(line["stage"] for line in lines)]
    in_order = [
        "clustering", "surrogate", "vectors", "shortlist", "mining", "extreme", "sparse-1.0", "mix",
        "mix-parts", "refitted vectors", "refit-mining", "refit-sparse",
    ]  # fmt: skip
    assert [stage for stage in stages if stage in in_order] == in_order
    for stage in ("surrogate", "extreme"):
        losses = [line["loss"] for line in lines if line["stage"] == stage]
        assert losses[-1] < losses[0]


def test_what_a_run_was_begun_with_is_read_again(run: Run) -> None:
    assert read_origin(run.folder) == ORIGIN
    assert ORIGIN.has_settings(load_config(run.folder / CONFIG_FILE, []))
    assert not ORIGIN.has_settings(TrainerConfig(seeds=(1,)))


def test_a_run_that_says_not_how_it_began_cannot_be_resumed(tmp_path: Path) -> None:
    Run(tmp_path).begin(TrainerConfig())
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / CONFIG_FILE):
        with pytest.raises(RunError, match=r"holds no run to go on with.*Begin one with astec-train DATA RUN"):
            read_origin(folder)


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        ({}, None),
        ({"texts": 1_008}, "it had 7 texts with labels then and has 1,008 now"),
        ({"labels": "x"}, "other labels than then"),
        ({"vocabulary": "x", "examples": "y"}, "other vocabulary and examples than then"),
    ],
)
def test_data_that_differs_is_told_how(now: dict[str, int | str], difference: str | None) -> None:
    assert ORIGIN.fingerprint.difference(ORIGIN.fingerprint.model_copy(update=now)) == difference


def computed(value: float) -> Arrays:
    return {"x": np.array([value, 2], np.float32), "count": np.array(3)}


def test_a_stage_is_computed_once(run: Run) -> None:
    first = run.once("mining", lambda: computed(1))
    again = Run(run.folder).once("mining", lambda: computed(9))
    assert first["x"].tolist() == again["x"].tolist() == [1, 2]
    assert int(again["count"]) == 3


def test_a_stage_of_nothing_is_kept_too(run: Run) -> None:
    assert run.once("nothing", dict) == {}
    assert run.once("nothing", lambda: computed(9)) == {}


def test_progress_is_kept_until_its_stage_is(run: Run) -> None:
    assert run.load_progress("extreme") is None
    for value in (1, 5):
        run.save_progress("extreme", partial(computed, value))
    progress = Run(run.folder).load_progress("extreme")
    assert progress is not None
    assert progress["x"].tolist() == [5, 2]
    run.once("extreme", lambda: computed(6))
    assert run.load_progress("extreme") is None
    assert [path.name for path in (run.folder / STAGES_FOLDER).iterdir()] == ["extreme.safetensors"]


def test_progress_is_saved_after_some_minutes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = Run(tmp_path, save_minutes=2)
    run.begin(TrainerConfig())
    kept = []
    for seconds in (119, 1, 119, 1, 60):
        now += seconds
        run.save_progress("extreme", partial(computed, now))
        progress = run.load_progress("extreme")
        kept.append(None if progress is None else float(progress["x"][0]))
    assert kept == [None, 1_120, 1_120, 1_240, 1_240]


def test_resuming_drops_what_a_kill_cut_short_and_the_clock_goes_on(run: Run) -> None:
    run.once("mining", lambda: computed(1))
    (run.folder / HISTORY_FILE).write_text('{"stage": "graphs", "elapsed_s": 500.0}\n{"stage": "mini')
    (run.folder / ".checkpoint.partial-abc").mkdir()
    (run.folder / ".config.toml.partial-xyz").touch()
    (run.folder / STAGES_FOLDER / ".extreme-0.safetensors.partial").touch()
    (run.folder / STAGES_FOLDER / ".tmpQ1w2E3").touch()  # where safetensors writes first
    resumed = Run(run.folder)
    resumed.resume()
    assert 500 <= resumed.elapsed_s() < 550
    resumed.record("mining")
    history = History.read(run.folder / HISTORY_FILE)
    assert [line["stage"] for line in history.lines] == ["graphs", "mining"]
    names = {path.name for path in run.folder.rglob("*")}
    assert names == {CONFIG_FILE, HISTORY_FILE, ORIGIN_FILE, STAGES_FOLDER, "mining.safetensors"}


def test_a_run_that_had_no_time_for_a_line_starts_its_clock(run: Run) -> None:
    resumed = Run(run.folder)
    resumed.resume()
    assert resumed.elapsed_s() < 50


def test_what_cannot_be_written_is_named_and_the_file_before_is_kept(run: Run) -> None:
    run.save_progress("extreme", lambda: computed(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*/stages/extreme\.progress\.safetensors.*File too large"):
            run.save_progress("extreme", lambda: computed(2))
        with pytest.raises(OSError, match=r"cannot write .*/history\.jsonl.*File too large"):
            run.record("extreme")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (run.folder / STAGES_FOLDER).iterdir()] == ["extreme.progress.safetensors"]
    progress = run.load_progress("extreme")
    assert progress is not None
    assert progress["x"].tolist() == [1, 2]


def test_a_damaged_stage_is_named(run: Run) -> None:
    run.once("mining", lambda: computed(1))
    path = run.folder / STAGES_FOLDER / "mining.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"mining\.safetensors is damaged.*Remove it and resume"):
        run.once("mining", lambda: computed(1))


def test_finished_and_cleaned_up(run: Run) -> None:
    assert (run.finished, run.cleaned_up) == (False, False)
    (run.folder / CHECKPOINT_FOLDER).mkdir()
    assert (run.finished, run.cleaned_up) == (True, False)
    run.finish()
    assert (run.finished, run.cleaned_up) == (True, True)
