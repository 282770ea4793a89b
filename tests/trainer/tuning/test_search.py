"""The search of `astec-train tune`: the settings it draws, what it keeps and refuses, and resuming it."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import torch

from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER, read_checkpoint
from astec.export.readers import open_dataset
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.run.folder import CONFIG_FILE
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import load_config
from astec.trainer.tuning.search import (
    STORAGE_FILE,
    Search,
    SearchError,
    TrialResult,
    apply_values,
    open_storage,
    search_space,
)

pytestmark = pytest.mark.slow

Tune = Callable[..., tuple[int, str]]
ShopRows = list[tuple[str, list[str]]]
SETTINGS = ("surrogate.min_steps=4", "extreme.min_steps=4", "surrogate.epochs=1", "extreme.epochs=1")
HELD = ("model.dim=8", "surrogate.learning_rate=0.01")
ARGUMENTS = ("--device", "cpu", *(word for setting in (*SETTINGS, *HELD) for word in ("--set", setting)))


@pytest.fixture
def shop_file(tmp_path: Path, shop_rows: ShopRows, write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl(tmp_path / "train.jsonl", shop_rows)


@pytest.fixture
def config() -> TrainerConfig:
    return load_config(None, [*SETTINGS, *HELD])


@pytest.fixture
def data(shop_file: Path, config: TrainerConfig) -> TrainingData:
    return load_training_data(open_dataset(shop_file, "train"), config, skip_bad_lines=False)


@pytest.fixture
def search_in(data: TrainingData, config: TrainerConfig) -> Iterator[Callable[[Path], Search]]:
    """Open the search in a folder, as a new process would."""
    opened = []

    def open_search(folder: Path) -> Search:
        storage = open_storage(folder)
        opened.append(storage)
        held = [setting.partition("=")[0] for setting in HELD]
        return Search(folder, data, config, held, "P", torch.device("cpu"), storage.__enter__())

    yield open_search
    for storage in opened:
        storage.__exit__(None, None, None)


def ignore(_: TrialResult) -> None:
    pass


def test_a_search_leaves_the_best_settings_and_one_checkpoint(
    astec_train: Tune, shop_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "tune [red] 100%?"
    code, said = astec_train("tune", shop_file, folder, "--trials", 3, *ARGUMENTS)
    assert code == 0, said
    trials = sorted(path for path in folder.iterdir() if path.is_dir())
    assert [path.name for path in trials] == ["trial-0000", "trial-0001", "trial-0002"]
    kept = [path for path in trials if (path / CHECKPOINT_FOLDER).exists()]
    assert len(kept) == 1
    assert (folder / "best.toml").read_bytes() == (kept[0] / CONFIG_FILE).read_bytes()
    assert load_config(folder / "best.toml", []).model.dim == 8
    metrics = read_checkpoint(kept[0]).metrics
    mean = (metrics["P@1"] + metrics["P@3"] + metrics["P@5"]) / 3
    assert f"best so far {mean:.2f}" in said
    assert f"astec-train {shop_file} RUN --config {folder}/best.toml\n" in said
    assert f"astec-export {kept[0]} ARTIFACT\n" in said

    code, said = astec_train("tune", shop_file, folder, "--trials", 3, *ARGUMENTS)
    assert code == 0, said
    assert "3 finished trials are there already" in said
    assert "best so far" not in said, "nothing is left to do"


def test_the_first_trial_has_the_settings_given_and_the_rest_others(
    search_in: Callable[[Path], Search], tmp_path: Path
) -> None:
    search = search_in(tmp_path / "tune")
    search.run(3, None, ignore)
    first, *rest = [result.values for result in search.results()]
    assert first == {
        "model.dropout": 0.5,
        "surrogate.epochs": 4,
        "extreme.learning_rate": 0.005,
        "extreme.epochs": 4,
    }
    assert all(values != first for values in rest)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    search_in: Callable[[Path], Search], tmp_path: Path
) -> None:
    """The search is stopped after two trials, continued, and killed in the middle of the third."""
    search = search_in(tmp_path / "whole")
    search.run(4, None, ignore)
    whole = [(result.values, result.metrics) for result in search.results()]

    search_in(tmp_path / "broken").run(2, None, ignore)
    storage = f"sqlite:///{tmp_path / 'broken' / STORAGE_FILE}"
    killed = optuna.load_study(study_name=None, storage=storage).ask()
    leftover = tmp_path / "broken" / f"trial-{killed.number:04d}"
    leftover.mkdir()

    resumed = search_in(tmp_path / "broken")
    assert not leftover.exists()
    resumed.run(4, None, ignore)
    assert [(result.values, result.metrics) for result in resumed.results()] == whole


def test_ctrl_c_keeps_the_finished_trials(search_in: Callable[[Path], Search], tmp_path: Path) -> None:
    def interrupt(result: TrialResult) -> None:
        raise KeyboardInterrupt

    search = search_in(tmp_path / "tune")
    with pytest.raises(KeyboardInterrupt):
        search.run(5, None, interrupt)
    assert [result.number for result in search.results()] == [0]
    assert search.best_file.exists()


def test_no_trial_begins_after_the_minutes(search_in: Callable[[Path], Search], tmp_path: Path) -> None:
    search = search_in(tmp_path / "tune")
    search.run(5, 0.0, ignore)
    assert search.results() == []
    with pytest.raises(SearchError, match="no trial has a score yet"):
        search.best()


def test_a_trial_that_diverges_counts_as_none(astec_train: Tune, shop_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    code, said = astec_train(
        "tune", shop_file, folder, "--trials", 2, *ARGUMENTS, "--set", "surrogate.learning_rate=1e30"
    )
    assert code == 2
    assert "trial 1 (of 2 trials): diverged" in said
    assert "no trial has a score yet" in said
    assert not (folder / "best.toml").exists()


def test_what_mattered_is_told_once_there_are_trials_enough(
    search_in: Callable[[Path], Search], tmp_path: Path
) -> None:
    search = search_in(tmp_path / "tune")
    assert search.importance() == {}
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'tune' / STORAGE_FILE}")
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    for _ in range(20):  # the score is the dropout alone
        trial = study.ask(dict(search.space))
        study.tell(trial, trial.params["model.dropout"])
    shares = search.importance()
    assert set(shares) == set(search.space)
    assert max(shares, key=lambda knob: shares[knob]) == "model.dropout"


def test_epochs_are_looked_for_around_what_the_settings_come_to() -> None:
    """600 steps of 256 texts are 13 epochs of 12,000 texts."""
    space = search_space(TrainerConfig(), 12_000, [])
    assert (space["surrogate.epochs"].low, space["surrogate.epochs"].high) == (6, 26)
    space = search_space(TrainerConfig(), 1_000_000, [])
    assert (space["surrogate.epochs"].low, space["surrogate.epochs"].high) == (4, 16)


def test_what_is_held_is_not_looked_at() -> None:
    assert "model.dim" in search_space(TrainerConfig(), 1000, [])
    assert "model.dim" not in search_space(TrainerConfig(), 1000, ["model.dim"])


@pytest.mark.parametrize("end", ["low", "high"])
def test_every_end_of_the_space_is_a_valid_setting(end: str) -> None:
    values = {knob: getattr(range_, end) for knob, range_ in search_space(TrainerConfig(), 1000, []).items()}
    applied = apply_values(TrainerConfig(), values)
    assert applied.model.dim == values["model.dim"]
    assert (applied.surrogate.epochs, applied.surrogate.min_steps) == (values["surrogate.epochs"], 0)


def test_a_search_over_something_else_is_refused(astec_train: Tune, shop_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    assert astec_train("tune", shop_file, folder, "--trials", 1, *ARGUMENTS)[0] == 0
    before = tomllib.loads((folder / "best.toml").read_text())
    for arguments, word in (
        (("--metric", "PSP"), "judged"),
        (("--seed", 1), "settings"),
        (("--set", "model.dropout=0.3"), "settings, knobs"),
    ):
        code, said = astec_train("tune", shop_file, folder, *ARGUMENTS, *arguments)
        assert code == 2
        assert f"differs in its {word}" in said
    assert tomllib.loads((folder / "best.toml").read_text()) == before


def test_nothing_is_left_where_nothing_was_searched(astec_train: Tune, shop_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    for arguments, word in (
        ((shop_file, folder, "--set", "model.dimm=8"), "did you mean model.dim?"),
        ((tmp_path / "nothing", folder), "nothing"),
        ((shop_file, folder, "--device", "gpu"), "device 'gpu' cannot be used"),
        ((shop_file, tmp_path), "exists and holds no search"),
        ((shop_file, shop_file), "exists and holds no search"),
    ):
        code, said = astec_train("tune", *arguments)
        assert code == 2
        assert "Traceback" not in said
        assert word in said.replace("\n", " ")
        assert not folder.exists()
