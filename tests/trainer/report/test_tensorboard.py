"""The curves for TensorBoard."""

import importlib.util
import sys
from pathlib import Path

import pytest

from astec.trainer.report.tensorboard import TENSORBOARD_FOLDER, TensorBoard, TensorBoardError, require_tensorboard
from astec.trainer.run.folder import HISTORY_FILE, Run
from astec.trainer.run.history import History
from astec.trainer.settings.config import TrainerConfig

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the package tensorboard is not installed"
)


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the steps and values of every scalar, by name, with TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(event.step, round(event.value, 4)) for event in events.Scalars(name)] for name in names}


@pytest.fixture(name="run")
def run_fixture(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    run.begin(TrainerConfig())
    return run


@installed
def test_numbers_are_curves_over_epochs_or_turns(run: Run) -> None:
    folder = run.folder / TENSORBOARD_FOLDER
    with TensorBoard(folder, History(())) as board:
        run.observers.append(board)
        run.record("extreme", epoch=1, loss=2.0)
        run.record("extreme", epoch=2, loss=1.5)
        run.record("validation", alpha=0.1, note="text")
        run.record("validation", alpha=0.2)
    assert read_curves(folder) == {
        "extreme/loss": [(1, 2.0), (2, 1.5)],
        "validation/alpha": [(1, 0.1), (2, 0.2)],
    }


@installed
def test_a_resumed_run_shows_what_its_history_has_kept(run: Run) -> None:
    folder = run.folder / TENSORBOARD_FOLDER
    with TensorBoard(folder, History(())) as board:
        board({"stage": "extreme", "epoch": 1, "loss": 9.0, "elapsed_s": 1.0})
        board({"stage": "extreme", "epoch": 2, "loss": 8.0, "elapsed_s": 2.0})
    run.record("extreme", epoch=1, loss=9.0)
    with TensorBoard(folder, History.read(run.folder / HISTORY_FILE)) as board:
        board({"stage": "extreme", "epoch": 2, "loss": 7.0, "elapsed_s": 2.0})
    assert read_curves(folder) == {"extreme/loss": [(1, 9.0), (2, 7.0)]}


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(TensorBoardError, match=r"pip install 'astec\[tensorboard\]'"):
        require_tensorboard()
